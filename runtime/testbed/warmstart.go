// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"strings"
	"time"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/guest"
	"github.com/mhmig/mhmig/runtime/gueststate"
	"github.com/mhmig/mhmig/runtime/jeos/clockwork"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/vm"
)

// A guest starts cold, which is a boot, or warm: it is restored from a state that was
// saved when its like had booted and nobody had used it. Where there is no such state,
// mhmig boots one for it, saves it, ends it, and starts the guest from the state like
// all later ones. Nothing that a scenario gets has ever been stopped or saved.
//
// An installed guest writes to its disks when it boots. It boots on overlays of its own
// then, which are kept with the state; each guest that is restored has copies of them for
// its disks. JeOS is told by the port for its clock that it was restored, other guests by
// a login.

// The values of the param guest_start.
const (
	startCold = "cold"
	startWarm = "warm"
)

const (
	// wakeTimeout is how long a restored guest may take to answer.
	wakeTimeout = 10 * time.Second
	// answerTimeout is how long it may take before it is told again.
	answerTimeout = time.Second
	// settleTimeout is how long a guest that is to be saved may take, after its first
	// login, to get done with its boot.
	settleTimeout = 3 * time.Minute
	// loginWakeTimeout is how long a restored guest may take to be logged in to and told.
	loginWakeTimeout = time.Minute
	// renewTimeout limits making a VM's disks anew after a failed warm start.
	renewTimeout = time.Minute
	// clockTolerance is how much faster or slower than the host's a guest's clock may be
	// whose state is to be saved: on a busy machine Linux may err in how fast the TSC
	// is, and all guests restored from the state would have that for ever.
	clockTolerance = 0.02
)

// States says where hosts keep saved states of guests. Runs of one process that share it
// boot one guest for a state that several of them want at the same time.
type States struct {
	// Dir is the folder on each host; "": one of the user's in the host's state_dir.
	Dir string
	// Limit is how many bytes of states a host keeps; 0: [gueststate.DefaultLimit].
	Limit int64

	saving locks // by host and state: one guest's is saved, others that want the same wait
}

// KeepStates lets guests start warm, from states that the hosts keep. Without it all
// start cold. It is called before any bed is made.
func (s *Shared) KeepStates(where *States) { s.states = where }

// stateStore is where the host keeps its states.
func (h *Host) stateStore() gueststate.Store {
	states := h.bed.shared.states
	s := gueststate.Store{Host: h.Remote, Dir: states.Dir, Limit: states.Limit}
	if s.Dir == "" {
		user, _ := h.Facts()["user"].(string)
		s.Dir = gueststate.Dir(path.Dir(h.runDir), user)
	}
	if s.Limit == 0 {
		s.Limit = gueststate.DefaultLimit
	}
	return s
}

// coldError is why a guest cannot start warm.
type coldError struct{ why error }

func (e *coldError) Error() string { return e.why.Error() }
func (e *coldError) Unwrap() error { return e.why }

func cold(format string, args ...any) error { return &coldError{fmt.Errorf(format, args...)} }

// startGuest starts an instance whose guest runs here, warm or cold as the param
// guest_start says, and lets it run.
func (b *Bed) startGuest(ctx context.Context, name string, h *Host, params cartesian.Params, shape vm.Shape, launch vm.Launch) (*Instance, error) {
	v := api.Read(params.Object(h.label).Object(name))
	how := v.Choice("guest_start")
	if err := v.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	log := b.log.With("vm", name, "host", h.Name())
	why, began := errors.New("param guest_start"), time.Now()
	if how != startCold {
		var instance *Instance
		if instance, why = b.startWarm(ctx, name, h, params, shape, launch, log); why == nil {
			log.Info("guest starts warm", result.RestoredKey, time.Since(began).Round(time.Millisecond))
			return instance, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if how == startWarm {
			return nil, fmt.Errorf("%s on %s: param guest_start = warm, but it cannot start warm: %w", name, h.Name(), why)
		}
	}
	switch _, expected := errors.AsType[*coldError](why); {
	case how == startCold, expected:
		log.Info("guest starts cold", "why", why.Error())
	default:
		log.Warn("guest starts cold", "why", why.Error())
	}
	launch.Restore = ""
	instance, err := b.start(ctx, name, h, params, changes{}, shape, launch, nil)
	if err != nil {
		return nil, err
	}
	if err := instance.BlameGone(ctx, instance.Cont(ctx)); err != nil {
		return nil, b.abandon(ctx, instance, err)
	}
	return instance, nil
}

// startWarm restores the guest. A *coldError says why it must boot; every other error is
// of something that should have worked.
func (b *Bed) startWarm(ctx context.Context, name string, h *Host, params cartesian.Params, shape vm.Shape, launch vm.Launch, log *slog.Logger) (*Instance, error) {
	switch {
	case b.shared.states == nil:
		return nil, cold("no saved states are kept")
	case b.coldStart:
		return nil, cold("the scenario's guest_start")
	case !b.SharesImages():
		return nil, cold("param images_shared = no")
	case launch.MustBoot != "":
		return nil, &coldError{errors.New(launch.MustBoot)}
	}
	hostConfig, err := h.vmConfig(name, params)
	if err != nil {
		return nil, err
	}
	v := api.Read(params.Object(h.label).Object(name))
	if system := v.Word("os_type"); v.Err() == nil && system != "linux" {
		return nil, cold("param os_type = %s", system)
	}
	identity, err := b.identity(ctx, name, h, hostConfig.Config, shape, launch)
	if err != nil {
		return nil, err
	}
	saved, err := b.findOrSave(ctx, name, h, hostConfig, shape, launch, identity, log)
	if err != nil {
		return nil, err
	}
	instance, err := b.restore(ctx, name, h, params, hostConfig.Config, shape, launch, saved)
	if err == nil {
		return instance, nil
	}
	if ctx.Err() == nil { // a state that cannot be used once cannot be used again
		err = errors.Join(err, h.stateStore().Drop(ctx, identity))
	}
	return nil, err
}

// restore starts the VM from a saved state. After an error its disks are as they were
// before.
func (b *Bed) restore(ctx context.Context, name string, h *Host, params cartesian.Params, config vm.Config, shape vm.Shape, launch vm.Launch, saved gueststate.Files) (_ *Instance, err error) {
	if images := b.imagesOf[name]; config.HasInstalledDisk() {
		defer func() {
			if err != nil {
				renewing, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), renewTimeout, fmt.Errorf("not made within %v", renewTimeout))
				defer cancel()
				err = errors.Join(err, images.Renew(renewing))
			}
		}()
		if err := images.RestoreDisks(ctx, b.placement(name, h, 1), saved.Disks); err != nil {
			return nil, err
		}
	}
	launch.Restore = saved.State
	instance, err := b.start(ctx, name, h, params, changes{}, shape, launch, nil)
	if err != nil {
		return nil, err
	}
	if err := instance.wake(ctx); err != nil {
		return nil, errors.Join(err, b.discard(ctx, instance))
	}
	return instance, nil
}

// findOrSave returns the files of the state that fits. Others that want the same meanwhile
// wait for it.
func (b *Bed) findOrSave(ctx context.Context, name string, h *Host, hostConfig vm.HostConfig, shape vm.Shape, launch vm.Launch, identity string, log *slog.Logger) (gueststate.Files, error) {
	key := h.Name() + " " + gueststate.Key(identity)
	release, err := b.shared.states.saving.acquire(ctx, key)
	if err != nil {
		return gueststate.Files{}, err
	}
	defer release()
	store := h.stateStore()
	saved, err := store.Find(ctx, identity)
	refused, isRefused := errors.AsType[*gueststate.RefusedError](err)
	switch {
	case isRefused:
		return saved, &coldError{refused}
	case errors.Is(err, gueststate.ErrDamaged):
		log.Warn("the saved state of the guest was damaged, and is removed")
		return saved, err
	case !errors.Is(err, gueststate.ErrNone):
		return saved, err
	}
	if b.shared.saveFailed(key) {
		return saved, cold("saving its state has failed before in this run")
	}
	err = b.save(ctx, name, h, hostConfig, shape, launch, identity, log)
	if _, wrong := errors.AsType[*clockRateError](err); wrong { // a busy host: the next boot's clock is most likely right
		log.Info("the guest's state is not saved: booting once more", "reason", err)
		err = b.save(ctx, name, h, hostConfig, shape, launch, identity, log)
	}
	if err != nil {
		b.shared.noteSaveFailed(key)
		return saved, err
	}
	saved, err = store.Find(ctx, identity)
	if errors.Is(err, gueststate.ErrNone) {
		return saved, b.refuse(ctx, store, identity, cold("its state and its disks take more than the %d MiB of all saved states", store.Limit>>20))
	}
	return saved, err
}

// refuse notes why the guest cannot have a saved state, so that no later run boots one in
// vain, and returns why.
func (b *Bed) refuse(ctx context.Context, store gueststate.Store, identity string, why error) error {
	saving, err := store.Begin(ctx, b.ledger)
	if err == nil {
		err = saving.Refuse(ctx, identity, why.Error())
	}
	return errors.Join(why, err)
}

// identity is all that the guest's saved state depends on. A *coldError says why its
// guest cannot have one.
func (b *Bed) identity(ctx context.Context, name string, h *Host, config vm.Config, shape vm.Shape, launch vm.Launch) (string, error) {
	ofVM, err := vm.Identity(config, shape, launch)
	if err != nil {
		return "", &coldError{err}
	}
	if kept := b.keptImages(name); len(kept) > 0 {
		return "", cold("disk %s is not created anew for each run", kept[0])
	}
	if err := b.disksUntouched(ctx, name); err != nil {
		return "", err
	}
	ofHost, err := b.shared.vms.IdentifyHost(ctx, b.placement(name, h, 1), config, shape.Accel)
	if err != nil {
		return "", err
	}
	ofImages, err := vm.IdentifyImages(ctx, b.placement(name, h, 1), config)
	if err != nil {
		return "", err
	}
	return "mhmig saved state, version 2\n" + ofHost + ofImages + ofVM, nil
}

// disksUntouched is an error where a VM's disks are not as they were made: what a
// restored guest believes of them would be wrong.
func (b *Bed) disksUntouched(ctx context.Context, name string) error {
	images := b.imagesOf[name]
	if images == nil {
		return nil
	}
	marks, err := images.Marks(ctx)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch made, known := b.diskMarks[name]; {
	case b.ran[name] && marks != "" && b.shared.states.Dir == "": // other hosts may see a change of a shared disk late
		return cold("its disks have been in use before")
	case !known && b.ran[name] && marks != "":
		return cold("its disks have been in use before")
	case !known:
		b.diskMarks[name] = marks
	case made != marks:
		return cold("its disks have been written to before")
	}
	return nil
}

// settledJeOS waits in JeOS until it has nothing to do any more that belongs to its
// boot: its late drivers are loaded, and a shell is ready for who logs in next, beside
// that of this login. Then it fills most of the memory that is free with zeros, which
// take no room in a state; busybox's head takes 20 times as long for that as dd.
const settledJeOS = `
until [ -e /run/booted ] && [ -e /dev/pts/1 ]; do sleep 0.1; done
free=$(sed -n 's/^MemFree: *\([0-9]*\) kB/\1/p' /proc/meminfo)
mount -o remount,size=100% /dev/shm
[ "$free" -lt 524288 ] || free=524288
[ "$free" -lt 16384 ] || dd if=/dev/zero of=/dev/shm/zeros bs=1M count=$(((free - 12288) / 1024)) 2>/dev/null
rm -f /dev/shm/zeros
mount -o remount,size=50% /dev/shm
sync
echo settled`

// settledLinux does that in another guest, as root: until systemd, if it has that, has
// started everything. What the kernel keeps of files is not worth its room in a state. It
// says why the guest could not be told that it was restored.
const settledLinux = `
[ "$(id -u)" = 0 ] || { echo cold: its user is not root; exit; }
command -v perl || command -v python3 || { echo cold: it has neither perl nor python3, to be given random numbers; exit; }
while [ "$(systemctl is-system-running)" = starting ]; do sleep 0.5; done
sync
echo 3 >/proc/sys/vm/drop_caches
free=$(sed -n 's/^MemFree: *\([0-9]*\) kB/\1/p' /proc/meminfo)
[ "$free" -lt 557056 ] || free=557056
if [ "$free" -ge 65536 ] && mkdir /run/zeros && mount -t tmpfs -o size=100% zeros /run/zeros; then
	head -c $((free - 32768))k /dev/zero >/run/zeros/zeros
	umount /run/zeros
fi
rmdir /run/zeros
sync
echo settled`

// save boots a guest as the VM has it, and saves its state when it has settled. The VM's
// own instances do not know of it.
func (b *Bed) save(ctx context.Context, name string, h *Host, hostConfig vm.HostConfig, shape vm.Shape, launch vm.Launch, identity string, log *slog.Logger) (err error) {
	log.Info("booting the guest once, to save its state for this start and all later ones")
	began := time.Now()
	id, release := b.takeID(name, h)
	defer release()
	placement := b.placement(name, h, id)
	placement.Artifacts = func(string) (io.WriteCloser, error) { return discarded{}, nil }
	launch.Restore = ""
	saving, err := h.stateStore().Begin(ctx, b.ledger)
	if err != nil {
		return err
	}
	kept := false
	defer func() {
		if !kept {
			err = errors.Join(err, saving.Discard(ctx))
		}
	}()
	if hostConfig.Config.HasInstalledDisk() {
		placement.ImageDir = saving.Files().Disks
		disks := placement
		disks.Ledger = removedWith{}
		if _, err := vm.PrepareImages(ctx, disks, hostConfig.Config); err != nil {
			return err
		}
	}
	qemu, err := b.launch(ctx, placement, hostConfig.Config, shape, launch)
	if err != nil {
		return err
	}
	inst := &Instance{QEMU: qemu, Host: h, hostConfig: hostConfig, shape: shape, log: log, state: "prelaunch"}
	ended := false
	end := func() error {
		if ended {
			return nil
		}
		ended = true
		destroyed := qemu.Destroy(context.WithoutCancel(ctx))
		inst.detach()
		return destroyed
	}
	defer func() { err = errors.Join(err, end()) }()
	saver, ok := qemu.(interface {
		Save(ctx context.Context, file string) error
	})
	if !ok {
		return cold("this QEMU cannot save a state")
	}
	if err := inst.settle(ctx, hostConfig.Config.Login.Timeout); err != nil {
		err = fmt.Errorf("boot the guest to save its state: %w", err)
		if _, forEver := errors.AsType[*coldError](err); forEver {
			kept = true
			err = errors.Join(err, end(), saving.Refuse(ctx, identity, err.Error()))
		}
		return err
	}
	if err := saver.Save(ctx, saving.Files().State); err != nil {
		return err
	}
	if err := end(); err != nil {
		return err
	}
	if err := b.disksUntouched(ctx, name); err != nil {
		return err
	}
	kept = true
	if err := saving.Keep(ctx, identity); err != nil {
		return err
	}
	log.Info("the guest's state is saved", "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// settle lets a guest boot, with its clock's port open, and logs in to it once.
func (i *Instance) settle(ctx context.Context, timeout time.Duration) error {
	if err := i.Cont(ctx); err != nil {
		return err
	}
	session, err := i.newLogin(ctx, timeout, guest.LogIn)
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	ctx, cancel := context.WithTimeoutCause(ctx, settleTimeout, fmt.Errorf("not done with its boot within %v", settleTimeout))
	defer cancel()
	began, err := readUptime(ctx, session)
	if err != nil {
		return err
	}
	script := settledLinux
	if i.isJeOS() {
		script = settledJeOS
	}
	said, err := session.ExecChannel(ctx, script)
	if why, found := cutAnswer(said, "cold: "); found {
		return cold("%s", why)
	}
	if _, found := cutAnswer(said, "settled"); err == nil && !found {
		err = fmt.Errorf("the guest said %q", said)
	}
	if err != nil {
		return err
	}
	ended, err := readUptime(ctx, session)
	if err != nil {
		return err
	}
	return checkRate(began, ended)
}

func (i *Instance) isJeOS() bool {
	config := i.Config()
	return config.IsJeOS()
}

// cutAnswer returns what follows prefix in the last line that a guest's script has said.
func cutAnswer(said, prefix string) (rest string, found bool) {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	return strings.CutPrefix(lines[len(lines)-1], prefix)
}

// uptime is a reading of a guest's clock, and between which times of the host it was
// taken.
type uptime struct {
	guest         time.Duration
	before, after time.Time
}

func readUptime(ctx context.Context, session *guest.Session) (uptime, error) {
	u := uptime{before: time.Now()}
	said, err := session.ExecChannel(ctx, "read -r up rest </proc/uptime && echo $up")
	u.after = time.Now()
	if err != nil {
		return uptime{}, err
	}
	u.guest, err = time.ParseDuration(strings.TrimSpace(said) + "s")
	return u, err
}

// checkRate is an error where the guest's clock cannot have run as fast as the host's
// between two readings.
func checkRate(first, last uptime) error {
	const resolution = 20 * time.Millisecond // of /proc/uptime, twice
	passed := last.guest - first.guest
	least, most := last.before.Sub(first.after), last.after.Sub(first.before)
	if float64(passed+resolution) < float64(least)*(1-clockTolerance) || float64(passed-resolution) > float64(most)*(1+clockTolerance) {
		return &clockRateError{passed, least, most}
	}
	return nil
}

// clockRateError means that a guest's clock is too fast or too slow: its kernel measures
// the TSC against another clock while it boots, and was not given the processor meanwhile.
type clockRateError struct{ guest, least, most time.Duration }

func (e *clockRateError) Error() string {
	return fmt.Sprintf("the guest's clock is wrong: it ran %v while the host's ran between %v and %v", e.guest, e.least, e.most)
}

// wake lets a restored guest run, and gives it the time, and randomness of its own,
// before anybody can use it.
func (i *Instance) wake(ctx context.Context) error {
	if !i.isJeOS() {
		return i.wakeByLogin(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wakeTimeout, fmt.Errorf("%s: the restored guest has not answered within %v", i, wakeTimeout))
	defer cancel()
	if err := i.Cont(ctx); err != nil {
		return err
	}
	for try := 1; ; try++ {
		err := i.tellRestored(ctx)
		if err == nil || ctx.Err() != nil {
			return cmp.Or(context.Cause(ctx), err)
		}
		i.log.Debug("the restored guest does not answer yet", "try", try, "error", err)
	}
}

// tellRestored tells the guest once, on a connection of its own, that it was restored,
// and waits a while for its answer.
func (i *Instance) tellRestored(ctx context.Context) error {
	conn, err := i.DialClock(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	word := clockwork.Restored{Now: time.Now()}
	_, _ = rand.Read(word.Seed[:]) // never fails
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(word.Append(nil)); err != nil {
		return err
	}
	said := bufio.NewScanner(conn)
	for said.Scan() {
		if stamp, ok := clockwork.Parse(said.Bytes()); ok && stamp.Life == word.Life() {
			return nil
		}
	}
	return cmp.Or(said.Err(), io.ErrUnexpectedEOF)
}

// restoredLinux gives a guest that is not JeOS, as root, the seed %[1]s of its random
// numbers in hexadecimal, and the time %[2]s. By RNDADDENTROPY and RNDRESEEDCRNG the kernel
// uses the seed at once; old kernels do not have the second, nor need it.
const restoredLinux = `
if command -v perl >/dev/null; then
	perl -e 'open(my $r, ">", "/dev/random") or exit 1; my $s = pack("iia*", 256, 32, pack("H*", "%[1]s")); ioctl($r, 0x40085203, $s) or exit 1; ioctl($r, 0x5207, 0)'
else
	python3 -c 'import fcntl, struct
r = open("/dev/random", "wb")
fcntl.ioctl(r, 0x40085203, struct.pack("ii", 256, 32) + bytes.fromhex("%[1]s"))
try:
    fcntl.ioctl(r, 0x5207)
except OSError:
    pass'
fi && date -s @%[2]s >/dev/null && echo restored`

// wakeByLogin is wake for a guest that is not JeOS.
func (i *Instance) wakeByLogin(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, loginWakeTimeout, fmt.Errorf("%s: the restored guest was not told of it within %v", i, loginWakeTimeout))
	defer cancel()
	if err := i.Cont(ctx); err != nil {
		return err
	}
	session, err := i.newLogin(ctx, loginWakeTimeout, guest.LogIn)
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	began := time.Now()
	if _, err := session.ExecChannel(ctx, "date"); err != nil {
		return err
	}
	trip := time.Since(began) // to the guest, where a program starts, and back
	var seed [clockwork.SeedSize]byte
	_, _ = rand.Read(seed[:]) // never fails
	now := time.Now().Add(trip / 2)
	said, err := session.ExecChannel(ctx, fmt.Sprintf(restoredLinux, hex.EncodeToString(seed[:]), fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond())))
	if _, found := cutAnswer(said, "restored"); err == nil && !found {
		err = fmt.Errorf("%s: tell the guest that it was restored: it said %q", i, said)
	}
	return err
}

// discard ends an instance as if it had never been.
func (b *Bed) discard(ctx context.Context, instance *Instance) error {
	_, err := b.remove(context.WithoutCancel(ctx), instance, instance.Destroy)
	return err
}

// removedWith is the ledger of files in a folder that is recorded and removed as a whole.
type removedWith struct{}

func (removedWith) Record(ledger.Entry) (int, error) { return 0, nil }
func (removedWith) Done(int) error                   { return nil }

// discarded is a file of the results that nobody wants.
type discarded struct{}

func (discarded) Write(p []byte) (int, error) { return len(p), nil }
func (discarded) Close() error                { return nil }
