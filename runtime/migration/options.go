// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/vm"
)

// options are the params of a migration, by virt-test's names and with the defaults of
// its config; finish_timeout and login_timeout are per barrier and login, for any
// number of VMs.
type options struct {
	protocol      string        // mig_protocol: a transport
	port          portRange     // mig_port: where the destination listens; empty: any free port
	timeout       time.Duration // mig_timeout: from QMP migrate to its end
	loginTimeout  time.Duration // login_timeout
	finishTimeout time.Duration // finish_timeout: for the barriers after the migration
	startTimeout  time.Duration // start_migration_timeout: the time from the VM's start to the migration, without a login
	offline       bool          // mig_offline: stop the guest first
	cancelDelay   time.Duration // cancel_delay: the time from QMP migrate to the cancellation; 0: not cancelled
	speed         int64         // mig_speed, bytes per second; 0: QEMU's default
	downtime      time.Duration // mig_downtime; 0: QEMU's default
	postcopy      postcopyOptions
	asChannels    bool   // mig_channels: not URIs
	execProgram   string // mig_exec_program: of mig_protocol = exec
	fileOffset    int64  // mig_file_offset, bytes: of mig_protocol = file
	fileCommands  fileCommands
	memoryProof   bool // memory_proof
	predict       bool // mig_prediction: measure the dirty rate before
	login         bool // not not_login_after_mig
	exitOnError   bool // mig_exit_on_error: a destination that cannot load the guest ends
	ignoreShared  bool // mig_ignore_shared
	mappedRAM     bool // mig_mapped_ram
	switchoverAck bool // mig_switchover_ack; as those below, also on if it is one of capabilitys
	multifd       multifdOptions
	xbzrle        bool // mig_xbzrle
	autoConverge  bool // mig_auto_converge
	zeroCopy      bool // mig_zero_copy
	validateUUID  bool // mig_validate_uuid
	announce      bool // one of mig_announce_…
	tls           tlsOptions
	storage       storageOptions
	dirtyBitmaps  bool        // mig_dirty_bitmaps
	capabilities  []string    // capabilitys, without those that capabilitys_state disables
	parameters    []parameter // parameters and parameters_value
}

func parseOptions(p cartesian.Params) (options, error) {
	v := api.Read(p)
	o := options{
		protocol: v.Choice("mig_protocol"),
		timeout:  v.Seconds("mig_timeout"), loginTimeout: v.Seconds("login_timeout"), finishTimeout: v.Seconds("finish_timeout"),
		startTimeout: v.Seconds("start_migration_timeout"), cancelDelay: v.Seconds("cancel_delay"),
		offline: v.Bool("mig_offline"), memoryProof: v.Bool("memory_proof"), predict: v.Bool("mig_prediction"), speed: v.Size("mig_speed"), downtime: v.Seconds("mig_downtime"),
		login: !v.Bool("not_login_after_mig"), asChannels: v.Bool("mig_channels"), execProgram: v.Choice("mig_exec_program"), fileOffset: v.Size("mig_file_offset"),
		exitOnError: v.Bool("mig_exit_on_error"),
	}
	o.port.first, o.port.last = v.Ports("mig_port")
	o.capabilities, o.parameters = parseCapabilities(v), parseParameters(v)
	o.postcopy, o.multifd = parsePostcopy(v, &o), parseMultifd(v, &o)
	o.xbzrle, o.autoConverge = o.uses(v, "mig_xbzrle", xbzrleCapability), o.uses(v, "mig_auto_converge", autoConvergeCapability)
	o.zeroCopy, o.validateUUID = o.uses(v, "mig_zero_copy", zeroCopyCapability), o.uses(v, "mig_validate_uuid", validateUUIDCapability)
	o.fileCommands = parseFileCommands(v)
	o.tls, o.storage, o.dirtyBitmaps = parseTLS(v), parseStorage(v), o.uses(v, "mig_dirty_bitmaps", dirtyBitmapsCapability)
	o.switchoverAck, o.ignoreShared = o.uses(v, "mig_switchover_ack", switchoverAckCapability), o.uses(v, "mig_ignore_shared", ignoreSharedCapability)
	o.mappedRAM = o.uses(v, "mig_mapped_ram", mappedRAMCapability)
	if size := v.Size("mig_xbzrle_cache"); size > 0 {
		o.addParameter(v, "mig_xbzrle_cache", parameter{name: "xbzrle-cache-size", value: strconv.FormatInt(size, 10)})
	}
	if o.enables(backgroundSnapshotCapability) {
		v.Unfit("capabilitys", "background-snapshot leaves the guest where it is, and is no migration: use vm.background_snapshot")
	}
	switch {
	case o.storage.on && o.tls.kind != "":
		v.Invalid("mig_storage", "none, where mig_tls is set: the disks would be sent unencrypted")
	case o.mappedRAM && o.xbzrle:
		v.Invalid("mig_mapped_ram", "no, where mig_xbzrle is yes: a page has its place in the file as it is")
	case o.mappedRAM && o.multifd.compressed:
		v.Invalid("mig_mapped_ram", "no, where multifd-compression compresses: a page has its place in the file as it is")
	case o.mappedRAM && o.zeroCopy:
		v.Invalid("mig_mapped_ram", "no, where mig_zero_copy is yes: that is of sockets")
	case o.mappedRAM && o.fileCommands.write != "":
		v.Invalid("mig_mapped_ram", "no, where migration_exec_cmd_src is a command: QEMU writes that file at any place of it")
	case o.storage.on && o.postcopy.on:
		v.Invalid("mig_storage", "none, where the migration may be switched to post-copy")
	}
	if v.Has("mig_xbzrle_cache") && !o.xbzrle {
		v.Unfit("mig_xbzrle_cache", "needs mig_xbzrle = yes")
	}
	o.announce = parseAnnounce(v, &o)
	o.checkZeroCopy(v)
	o.checkAgreement(v)
	o.checkForm(v)
	return o, v.Err()
}

// checkZeroCopy finds what the source's QEMU refuses together with zero-copy-send.
func (o *options) checkZeroCopy(v api.Values) {
	by := setBy(v, "mig_zero_copy")
	switch asItIs := zeroCopyCapability + " sends the memory as it is, not %s: use it without %s"; {
	case !o.zeroCopy:
	case !o.multifd.on:
		v.Unfit(by, "%s needs mig_multifd = yes: multifd's channels send without a copy, others cannot", zeroCopyCapability)
	case o.tls.kind != "":
		v.Unfit(by, asItIs, "encrypted", "mig_tls")
	case o.multifd.compressed:
		v.Unfit(by, asItIs, "compressed", multifdCompression)
	case o.xbzrle:
		v.Unfit(by, asItIs, "what has changed of it", "mig_xbzrle")
	}
}

// checkForm finds params that the transport has no use for: a test would pass without what
// they ask for.
func (o *options) checkForm(v api.Values) {
	if o.protocol == "fd" && o.asChannels {
		v.Unfit("mig_channels", "mig_protocol = fd has only a URI: use another transport")
	}
	if o.protocol == "fd" && !o.exitOnError {
		v.Unfit("mig_exit_on_error", "mig_protocol = fd has only a URI for migrate-incoming, and no exit-on-error: use another transport")
	}
	if o.storage.on && !o.port.any() && o.port.first == o.port.last && slices.Contains([]string{"tcp", "exec", "fd", "x-rdma"}, o.protocol) {
		v.Invalid("mig_port", "a range of two ports or more for each VM, where mig_storage is nbd: the destination's NBD server listens on one of them")
	}
	if files := []string{"file", "cpr-reboot", "cpr-exec"}; o.fileOffset > 0 && !slices.Contains(files, o.protocol) {
		v.Unfit("mig_file_offset", "needs a mig_protocol that has a file (%s)", strings.Join(files, ", "))
	}
}

// CheckParams returns the errors of params that no migration can have, as [New] does: of
// single values, of those that exclude one another, and of what mig_protocol cannot do. It
// is pure.
func CheckParams(p cartesian.Params) error {
	o, err := parseOptions(p)
	if err != nil {
		return err
	}
	_, err = o.transportTraits()
	return err
}

// transportTraits returns the traits of the transport, or an error if it cannot do what
// the features need.
func (o *options) transportTraits() (Traits, error) {
	t := transports[o.protocol](*o).Traits()
	t.SharedRAM = t.SharedRAM || o.ignoreShared
	return t, o.suit(t)
}

// uses says whether a feature is on: its own param says so, or it is one of capabilitys.
func (o *options) uses(v api.Values, param, capability string) bool {
	return v.Bool(param) || o.enables(capability)
}

// enables says whether a capability is one of capabilitys.
func (o *options) enables(capability string) bool { return slices.Contains(o.capabilities, capability) }

// setBy is the param that has switched a feature on: its own, or capabilitys.
func setBy(v api.Values, param string) string {
	if v.Bool(param) {
		return param
	}
	return "capabilitys"
}

// sets says whether a migration parameter is set.
func (o *options) sets(name string) bool {
	return slices.ContainsFunc(o.parameters, func(p parameter) bool { return p.name == name })
}

// suit returns an error if the transport cannot do what the features need.
func (o *options) suit(t Traits) error {
	for _, f := range []struct {
		on, can     bool
		name, needs string
	}{
		{o.postcopy.on, t.ReturnPath, "post-copy", "a return path"},
		{o.switchoverAck, t.ReturnPath, "switchover-ack", "a return path"},
		{o.postcopy.on, !t.SharedRAM, "post-copy", "memory that is sent"},
		{o.xbzrle, !t.SharedRAM, "XBZRLE", "memory that is sent"},
		{o.autoConverge, !t.SharedRAM, "auto-converge", "memory that is sent"},
		{o.sets(zeroPageDetection), !t.SharedRAM, zeroPageDetection, "memory that is sent"},
		{o.xbzrle, !t.Direct, "XBZRLE", "memory that is sent as a stream"},
		{o.sets(zeroPageDetection), !t.Direct, zeroPageDetection, "memory that is sent as a stream"},
		{o.tls.kind != "", !t.Direct, "TLS", "memory that is sent as a stream"},
		{o.tls.kind != "", !t.LoadsAfterSource, "TLS", "a connection between both ends"},
		{o.tls.kind != "", !t.Handover, "TLS", "a connection that carries no file descriptors"},
		{o.storage.on, !t.Handover, "mig_storage", "a destination that has a monitor before the source sends"},
		{o.dirtyBitmaps, !t.SharedRAM, "dirty-bitmaps", "a mode in which QEMU can send them after the switchover"},
		{o.validateUUID, !t.Exec, "validate-uuid", "a source that can be asked for its UUID after the move"},
		{o.ignoreShared, !t.startsLate(), "mig_ignore_shared", "RAM in a file"},
		{o.storage.on, !t.LoadsAfterSource, "mig_storage", "a destination that runs beside the source"},
		{o.mappedRAM, t.File && !t.SharedRAM, "mapped-ram", "a file to which memory is sent"},
		{o.multifd.on, t.Channels || o.mappedRAM, "multifd", "several connections"}, // or a file that several threads write at any place
		{o.postcopy.preempt, t.Channels, "postcopy-preempt", "two connections"},
	} {
		if f.on && !f.can {
			return fmt.Errorf("%s needs %s, which mig_protocol = %s has not", f.name, f.needs, o.protocol)
		}
	}
	return nil
}

// addParameter sets a migration parameter, on both ends, that a param of a feature
// names; parameters must not set it to another value.
func (o *options) addParameter(v api.Values, param string, p parameter) {
	o.agree(v, param, p)
	o.parameters = append(o.parameters, p)
}

// agree finds a migration parameter that parameters sets to another value than a param of
// mhmig, which sets p: QEMU would have the value that it is given last.
func (o *options) agree(v api.Values, param string, p parameter) {
	for _, other := range o.parameters {
		if other.name == p.name && !other.equals(p.value) {
			v.Invalid(param, fmt.Sprintf("the same as parameters, which sets %s to %s", p.name, other.value))
		}
	}
}

// checkAgreement finds migration parameters that parameters sets, and that mhmig sets by
// itself: those of other params than [options.addParameter] has.
func (o *options) checkAgreement(v api.Values) {
	if o.speed > 0 {
		o.agree(v, "mig_speed", parameter{name: maxBandwidth, value: strconv.FormatInt(o.speed, 10)})
	}
	if o.downtime > 0 {
		o.agree(v, "mig_downtime", parameter{name: downtimeLimit, value: strconv.FormatInt(o.downtime.Milliseconds(), 10)})
	}
	if mode := cprMode(*o); mode != "" {
		o.agree(v, "mig_protocol", parameter{name: modeParameter, value: mode})
	}
	if o.protocol == vm.ExecMode && o.sets(execCommand) {
		v.Unfit("parameters", "mig_protocol = %s sets %s by itself", o.protocol, execCommand)
	}
	if o.tls.kind == "" {
		return
	}
	if o.sets(tlsCreds) {
		v.Unfit("parameters", "mig_tls = %s sets %s by itself", o.tls.kind, tlsCreds)
	}
	if o.sets(tlsHostname) {
		v.Unfit("parameters", "mig_tls = %s sets %s by itself: use mig_tls_hostname", o.tls.kind, tlsHostname)
	}
}

// portRange is a range of TCP ports; the zero value means any port, chosen by QEMU.
type portRange struct{ first, last int }

func (r portRange) any() bool { return r.first == 0 }

// reserve takes a free port of the range on a machine, or any free one. No other gets it
// until release is called, which is nil of any free one: that is nobody's again.
func (r portRange) reserve(ctx context.Context, machine Machine) (port int, release func(), err error) {
	if r.any() {
		port, err = machine.FreePort(ctx)
		return port, nil, err
	}
	port, release, err = machine.ReservePort(ctx, r.first, r.last)
	if err != nil {
		err = fmt.Errorf("mig_port = %s (0 lets mhmig choose): %w", r, err)
	}
	return port, release, err
}

// try makes a destination listen on the first port that is free.
func (r portRange) try(destination Peer, listen func(port int) error) error {
	var err error
	for port := r.first; port <= r.last; port++ {
		err = listen(port)
		if _, refused := errors.AsType[*qmp.Error](err); !refused {
			return err
		}
	}
	return fmt.Errorf("%w; no port of mig_port = %s is free on %s (0 lets QEMU choose)", err, r, destination.HostName())
}

func (r portRange) String() string {
	if r.first == r.last {
		return strconv.Itoa(r.first)
	}
	return fmt.Sprintf("%d-%d", r.first, r.last)
}
