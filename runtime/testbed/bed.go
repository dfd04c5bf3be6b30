// SPDX-License-Identifier: Apache-2.0

// Package testbed has the test bed of a variant: its hosts, the instances of its
// VMs there, and the sessions in their guests.
//
//	bed := testbed.New(config)
//	defer bed.Close(ctx, status)
//	err := bed.Prepare(ctx)                        // folders, shared storage, disks
//	machine, _, err := bed.Ensure(ctx, "vm1", bed.Hosts()[0], bed.Params(), vm.Launch{})
//	session, err := machine.WaitForLogin(ctx, time.Minute)
//
// Everything that a bed creates on a host is recorded in the ledger, and removed by
// Close.
//
// All methods may be called from any goroutine; those with a ctx block.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/ledger"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/vm"
)

// closeTimeout limits all of Close.
const closeTimeout = 90 * time.Second

// Config is the configuration of a bed.
type Config struct {
	Hosts   []NumberedHost // the first is the master
	Params  cartesian.Params
	Results *result.Variant
	Ledger  vm.Ledger
	Log     *slog.Logger
	// Name is the name of the bed's folders on the hosts: short and unique.
	Name   string
	Shared *Shared
	// ColdStart says that the scenario's guests must boot.
	ColdStart bool
	// Seed is that of the scenario's random numbers.
	Seed uint64
	// Launch starts QEMU; nil means [vm.Start].
	Launch Launcher
}

// NumberedHost is a host with its number in the run.
type NumberedHost struct {
	Host   Remote
	Number int // among all hosts of the run, from 1: its suffix in params is host1, host2, …
}

// Bed is one variant's hosts, VMs and sessions.
type Bed struct {
	params    cartesian.Params
	results   *result.Variant
	ledger    *owned
	log       *slog.Logger
	name      string
	shared    *Shared
	launch    Launcher
	coldStart bool
	seed      uint64
	store     *store // of mhmig's files
	hosts     []*Host

	localImages bool                  // images_shared = no; set by Prepare
	folders     []madeFolder          // set by Prepare, in the order of creation
	images      []*vm.Images          // set by Prepare
	kept        map[string][]string   // VM -> existing images that create_image has not replaced; set by Prepare
	imagesOf    map[string]*vm.Images // by VM; set by Prepare

	mu           sync.Mutex // guards what follows
	instances    []*Instance
	starting     map[instanceKey]bool               // that are not among instances yet
	ran          map[string]bool                    // VM -> its guest was started
	notices      []string                           // for the results
	machines     []result.Machine                   // of the VMs, set by Prepare
	claims       map[string]string                  // VM -> what starts or migrates it
	reboots      map[string]requestedReboot         // VM -> its guest was reset on request, without a login since
	rebootAsked  map[string]time.Time               // VM -> until when the reset may come of a reboot that its guest was asked for
	faults       []error                            // of QEMUs that ended abnormally in Close
	read         map[string]bool                    // names of params that the scenario has read
	set          map[string]string                  // params that the scenario has set -> where
	consoles     map[string]string                  // VM -> the last console output of a removed instance
	kernelFaults map[string]kernelFaults            // by VM
	watchers     map[int]func(*Instance, qmp.Event) // by number
	changed      map[string]changes                 // VM -> of its guest's devices since its start
	lastWatcher  int
	random       *rand.Rand           // nil: not used yet
	diskMarks    map[string]string    // VM -> the marks of its disks when they were new
	disks        map[string]diskPlace // VM -> where its disks are, if a migration has moved them
	copies       []diskPlace          // that migrations have made
}

type madeFolder struct {
	host  *Host
	path  string
	entry int
}

// New returns a bed; nothing is created on the hosts before [Bed.Prepare].
func New(c Config) *Bed {
	b := &Bed{
		params: c.Params, results: c.Results, ledger: newOwned(c.Ledger), log: c.Log,
		name: c.Name, shared: c.Shared, launch: c.Launch, coldStart: c.ColdStart, seed: c.Seed,
		starting: map[instanceKey]bool{}, claims: map[string]string{}, consoles: map[string]string{}, reboots: map[string]requestedReboot{}, rebootAsked: map[string]time.Time{}, ran: map[string]bool{},
		kept: map[string][]string{}, imagesOf: map[string]*vm.Images{}, diskMarks: map[string]string{}, kernelFaults: map[string]kernelFaults{}, read: map[string]bool{}, set: map[string]string{},
		watchers: map[int]func(*Instance, qmp.Event){}, changed: map[string]changes{}, disks: map[string]diskPlace{},
	}
	if b.launch == nil {
		b.launch = startQEMU
	}
	for _, p := range c.Hosts {
		label := "host" + strconv.Itoa(p.Number)
		if b.store == nil {
			b.store = c.Shared.store(label)
		}
		params := api.OnHost(c.Params, label)
		v := api.Read(params)
		base := v.Word("images_base_dir")
		own := &Host{
			Remote: p.Host, bed: b, label: label,
			baseDir:  base,
			imageDir: path.Join(base, b.name),
		}
		own.runDir = path.Join(v.Word("state_dir"), own.ownName())
		own.Params = params
		b.hosts = append(b.hosts, own)
	}
	return b
}

// Owns says whether a ledger entry is of this bed.
func (b *Bed) Owns(e ledger.Entry) bool { return b.ledger.owns(e) }

// Variant returns the variant's ID, the name of its folder in the results.
func (b *Bed) Variant() string { return b.results.ID() }

// Pause records that the variant is paused for the user until resume: the pause does not
// count as its duration.
func (b *Bed) Pause() (resume func()) {
	began := time.Now()
	b.log.Info("paused", "step", "paused")
	return func() { b.results.Paused(time.Since(began)) }
}

// ReadParam records that the scenario has read a param.
func (b *Bed) ReadParam(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read[name] = true
}

// SetParams records params that the scenario sets for one migration or start, and where.
func (b *Bed) SetParams(params cartesian.Params, where string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key := range params {
		b.set[key] = where
	}
}

// HideParams masks the secrets among params, which the scenario sets, in all output and
// results from now on. A WARN says where one cannot be masked.
func (b *Bed) HideParams(params cartesian.Params) {
	for _, place := range b.results.Hide(params) {
		place.Warn(b.log)
	}
}

// ParamsSet returns the params that the scenario has set for migrations and starts, and where.
func (b *Bed) ParamsSet() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.set)
}

// ParamsRead returns the names of the params that the scenario has read.
func (b *Bed) ParamsRead() map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.read)
}

// Params returns the variant's params.
func (b *Bed) Params() cartesian.Params { return b.params }

// ImageDir is the bed's own folder for images, as a path below images_base_dir, on whichever
// host that is. It is there if there are VMs, and goes away with the bed.
func (b *Bed) ImageDir() string { return b.name }

// Log returns the variant's log.
func (b *Bed) Log() *slog.Logger { return b.log }

// Hosts returns the hosts, the master first.
func (b *Bed) Hosts() []*Host { return b.hosts }

// HostNames returns the names of the hosts, the master's first.
func (b *Bed) HostNames() []string {
	names := make([]string, len(b.hosts))
	for i, h := range b.hosts {
		names[i] = h.Name()
	}
	return names
}

// Host returns the host of that name, nil if there is none.
func (b *Bed) Host(name string) *Host {
	for _, h := range b.hosts {
		if h.Name() == name {
			return h
		}
	}
	return nil
}

// VMs returns the names of the variant's VMs: the param vms.
func (b *Bed) VMs() []string { return b.params.Objects("vms") }

// SaveArtifact saves a file in the variant's results.
func (b *Bed) SaveArtifact(name string, data []byte) error {
	w, err := b.results.Artifact(name)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return errors.Join(err, w.Close())
}

// SaveMigration saves the record of a migration in the variant's results.
func (b *Bed) SaveMigration(record result.Migration) error { return b.results.Migration(record) }

// Prepare prepares everything for the VMs to start: the bed's folders on the hosts,
// mhmig's files, and the disks of all VMs. It checks that the hosts share one image
// folder.
func (b *Bed) Prepare(ctx context.Context) error {
	v := api.Read(b.params)
	v.Bool("kill_vm")
	v.Bool("kill_vm_on_error")
	b.localImages = !v.Bool("images_shared")
	if err := v.Err(); err != nil {
		return err // before the test, which may take hours
	}
	if err := b.checkNames(); err != nil {
		return err
	}
	if err := b.makeFolders(ctx); err != nil {
		return err
	}
	if len(b.VMs()) == 0 { // the scenario only uses the hosts
		return nil
	}
	if err := b.shareFolder(ctx); err != nil {
		return err
	}
	if err := b.uploadFiles(ctx); err != nil {
		return err
	}
	if err := b.determineShapes(ctx); err != nil {
		return err
	}
	if err := b.prepareDisks(ctx); err != nil {
		return err
	}
	b.log.Info("disks prepared", "step", "disk_prepared")
	return b.startVMs(ctx)
}

// checkNames checks the params that become parts of paths on a host, before anything is
// created there.
func (b *Bed) checkNames() error {
	for _, h := range b.hosts {
		for key, dir := range map[string]string{"state_dir": h.runDir, "images_base_dir": h.baseDir} {
			if !path.IsAbs(dir) {
				return fmt.Errorf("%s: param %s: got %q, want an absolute path", h.Name(), key, h.Params[key])
			}
		}
		var configs []vm.Config
		for _, name := range b.VMs() {
			hostConfig, err := h.vmConfig(name, b.params)
			if err != nil {
				return err
			}
			configs = append(configs, hostConfig.Config)
		}
		if err := vm.CheckFiles(configs); err != nil {
			return fmt.Errorf("%s: %w", h.Name(), err)
		}
	}
	for key, value := range b.params {
		if file, _ := vm.ShippedFile(value); namesShipped(key, value) && file != path.Base(file) {
			return fmt.Errorf("param %s: got %q, want the name of one of mhmig's files, without a path", key, value)
		}
	}
	return nil
}

// makeFolders creates the bed's folder on each host.
func (b *Bed) makeFolders(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	for _, h := range b.hosts {
		group.Go(func() error {
			if err := h.readFacts(groupCtx); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			return b.makeFolder(groupCtx, h, h.runDir)
		})
	}
	return group.Wait()
}

// shareFolder creates the bed's folder on shared storage, or, if there is none, one on each
// host.
func (b *Bed) shareFolder(ctx context.Context) error {
	owners := b.hosts[:1]
	if b.localImages {
		owners = b.hosts
	}
	for _, h := range owners {
		exists, err := h.Exists(ctx, h.baseDir)
		if err != nil {
			return err
		}
		if !exists && b.localImages {
			return fmt.Errorf("%s: no folder %s (param images_base_dir)", h.Name(), h.baseDir)
		}
		if !exists {
			return fmt.Errorf("%s: no folder %s (param images_base_dir): it must be on storage that all hosts share", h.Name(), h.baseDir)
		}
		if err := b.makeFolder(ctx, h, h.imageDir); err != nil {
			return err
		}
	}
	if b.localImages {
		return nil
	}
	var shared []vm.Folder
	for _, h := range b.hosts {
		shared = append(shared, vm.Folder{Host: h.Remote, Path: h.imageDir})
	}
	return vm.CheckSharedStorage(ctx, shared)
}

func (b *Bed) makeFolder(ctx context.Context, h *Host, dir string) error {
	entry, err := b.ledger.Record(ledger.Entry{Host: h.Name(), Kind: ledger.Dir, Path: dir})
	if err != nil {
		return err
	}
	b.folders = append(b.folders, madeFolder{h, dir, entry})
	if err := h.MkdirAll(ctx, dir, 0o755); err != nil {
		return fmt.Errorf("%s: make folder %s: %w", h.Name(), dir, err)
	}
	return nil
}

// uploadFiles uploads mhmig's files that the params name to the shared storage, or, if
// there is none, to each host.
func (b *Bed) uploadFiles(ctx context.Context) error {
	values := map[string]bool{}
	for key, value := range b.params {
		if namesShipped(key, value) {
			values[value] = true
		}
	}
	owners := b.hosts[:1]
	if b.localImages {
		owners = b.hosts
	}
	for value := range values {
		for _, h := range owners {
			if err := b.shared.upload(ctx, h, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// determineShapes determines the shape of each VM, to report errors before anything is started.
func (b *Bed) determineShapes(ctx context.Context) error {
	for _, name := range b.VMs() {
		shape, err := b.shape(ctx, name, b.params)
		if err != nil {
			return err
		}
		b.machines = append(b.machines, machineOf(name, shape))
	}
	return nil
}

// machineOf is the record of a VM's machine.
func machineOf(name string, shape vm.Shape) result.Machine {
	machine, _, _ := strings.Cut(shape.Machine, ",")
	m := result.Machine{VM: name, Type: machine, QEMU: map[string]string{}}
	for _, q := range shape.QEMUs {
		m.QEMU[q.Host] = q.Version.String()
		if q.IsDeprecated(machine) {
			m.Deprecated = append(m.Deprecated, q.Host)
		}
	}
	return m
}

// Machines are the machines of the VMs that Prepare has determined.
func (b *Bed) Machines() []result.Machine { return b.machines }

// shape returns the shape of a VM with these params. It queries each host once, and logs
// each notice once in a run at INFO.
func (b *Bed) shape(ctx context.Context, name string, params cartesian.Params) (vm.Shape, error) {
	var hostConfigs []vm.HostConfig
	for _, h := range b.hosts {
		hostConfig, err := h.vmConfig(name, params)
		if err != nil {
			return vm.Shape{}, err
		}
		if b.shared.states != nil {
			hostConfig.Kept = h.stateStore().Dir
		}
		hostConfigs = append(hostConfigs, hostConfig)
	}
	shape, err := b.shared.vms.Agree(ctx, name, hostConfigs)
	if err != nil {
		return vm.Shape{}, err
	}
	for _, notice := range shape.Notices {
		if b.shared.firstNotice(notice) {
			b.log.Info(notice)
		} else {
			b.log.Debug(notice)
		}
	}
	return shape, nil
}

func (b *Bed) prepareDisks(ctx context.Context) error {
	v := api.Read(b.params)
	timeout := v.Seconds("disk_prepare_timeout")
	if err := v.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("disk_prepare_timeout (%v) expired", timeout))
	defer cancel()
	master := b.hosts[0]
	for _, name := range b.VMs() {
		hostConfig, err := master.vmConfig(name, b.params)
		if err != nil {
			return err
		}
		images, err := vm.PrepareImages(ctx, b.placement(name, master, 1), hostConfig.Config)
		if err != nil {
			return err
		}
		b.images = append(b.images, images)
		b.kept[name], b.imagesOf[name] = images.Kept, images
	}
	return nil
}

// startVMs starts the VMs with start_vm on the master.
func (b *Bed) startVMs(ctx context.Context) error {
	for _, name := range b.VMs() {
		hostConfig, err := b.hosts[0].vmConfig(name, b.params)
		if err != nil {
			return err
		}
		if !hostConfig.Config.Start {
			continue
		}
		if _, _, err := b.Ensure(ctx, name, b.hosts[0], b.params, vm.Launch{}); err != nil {
			return err
		}
	}
	return nil
}

// Claim locks VMs for starting or migrating them, until release is called. A VM that is
// claimed already is an error.
func (b *Bed) Claim(vms []string, by string) (release func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range vms {
		if other, taken := b.claims[name]; taken {
			return nil, fmt.Errorf("%s is in use by %s: wait for its end first", name, other)
		}
	}
	for _, name := range vms {
		b.claims[name] = by
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, name := range vms {
			delete(b.claims, name)
		}
	}, nil
}

// Keep keeps the bed's VMs and files on its hosts, and closes the connections to them.
// Commands of StartCommand end with the connections to the hosts; faults end by
// themselves after their timeout.
func (b *Bed) Keep() {
	for _, instance := range b.Instances() {
		instance.detach()
	}
}

// Faults returns an error, a FAIL, for each QEMU that ended abnormally in Close.
func (b *Bed) Faults() []error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.faults)
}

// Close removes everything of the bed from its hosts: faults, commands with their
// background processes, VMs, folders. It also runs after ctx has ended, within its own
// limit. With this status of the variant, kill_vm or kill_vm_on_error may keep the VMs:
// then their files are kept too, and kept is true.
func (b *Bed) Close(ctx context.Context, status result.Status) (kept bool, err error) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), closeTimeout, fmt.Errorf("cleaning up took longer than %v", closeTimeout))
	defer cancel()
	var errs []error
	for _, h := range b.hosts {
		errs = append(errs, h.Unblock(ctx), h.endCommands(ctx))
	}
	instances := b.Instances()
	key := "kill_vm_on_error"
	if status.OK() {
		key = "kill_vm"
	}
	v := api.Read(b.params)
	if kill := v.Bool(key); v.Err() == nil && !kill && len(instances) > 0 {
		for _, instance := range instances {
			instance.detach()
			b.log.Warn("left running, until mhmig cleanup", "vm", instance.Name(), "host", instance.Host.Name(), "because", key+" = no", "folder", instance.Host.runDir)
		}
		return true, errors.Join(errs...)
	}
	faults, ends := make([]error, len(instances)), make([]error, len(instances))
	var ending sync.WaitGroup
	for i, instance := range instances {
		ending.Go(func() { faults[i], ends[i] = b.remove(ctx, instance, instance.Destroy) })
	}
	ending.Wait()
	errs = append(errs, ends...)
	b.mu.Lock()
	b.faults = slices.DeleteFunc(faults, func(err error) bool { return err == nil })
	b.mu.Unlock()
	for _, copies := range b.copies {
		errs = append(errs, b.removeCopies(ctx, copies))
	}
	for _, images := range slices.Backward(b.images) {
		errs = append(errs, images.Remove(ctx))
	}
	for _, folder := range slices.Backward(b.folders) {
		if err := folder.host.RemoveAll(ctx, folder.path); err != nil {
			errs = append(errs, fmt.Errorf("%s: remove %s: %w", folder.host.Name(), folder.path, err))
			continue
		}
		errs = append(errs, b.ledger.Done(folder.entry))
	}
	return false, errors.Join(errs...)
}
