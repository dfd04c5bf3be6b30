// SPDX-License-Identifier: Apache-2.0

package explore

import "slices"

// Vocabulary is what the steps of a walk are drawn from: all that the hosts and their
// QEMUs are able to do.
type Vocabulary struct {
	Hosts   int
	Missing []string // what is left out, each with its reason

	transports []string
	features   []feature
	meanwhile  []string
}

// transport is a value of mig_protocol.
type transport struct {
	name   string
	able   func([]Abilities) bool
	reason string // why it is left out
}

const (
	tcp  = "tcp"
	unix = "unix"
	exec = "exec"
	fd   = "fd"
	file = "file"
)

var transports = []transport{
	{tcp, func([]Abilities) bool { return true }, ""},
	{unix, func(all []Abilities) bool {
		return everywhere(all, func(a Abilities) bool { return a.Machine == all[0].Machine })
	}, "the hosts are not one machine"},
	{exec, func(all []Abilities) bool { return everywhere(all, func(a Abilities) bool { return a.Connector }) }, "a host has none of socat, ncat, busybox"},
	{fd, func(all []Abilities) bool { return everywhere(all, func(a Abilities) bool { return a.Descriptors }) }, "a host is not Linux x86_64"},
	{file, func([]Abilities) bool { return true }, ""},
}

// feature is a way to send the guest: params of the migration that go together.
type feature struct {
	name         string
	params       []param
	capabilities []string // that both ends' QEMUs must have
	parameters   []string // likewise
	transports   []string // with which it works; nil: all
	postcopy     bool     // the migration is switched to post-copy
	// notLost says that no step ends the destination: QEMU 7.2.22 hangs then in one of eight
	// times on a host under load, with its monitor (multifd_send_sync_main waits, holding the
	// lock that the main loop needs, for the thread of a channel that has ended), and 10.0.13
	// leaves a guest that was in pre-switchover stopped, in finish-migrate.
	notLost bool
}

type param struct{ key, value string }

// features are the ways that are known. Those whose capabilities QEMU refuses together, or
// accepts and loses the guest, are not combined.
var features = []feature{
	{name: "multifd", params: []param{{"mig_multifd", "yes"}}, capabilities: []string{"multifd"}, transports: []string{tcp, unix}, notLost: true},
	{
		name: "multifd with 4 channels", params: []param{{"mig_multifd", "yes"}, {"mig_multifd_channels", "4"}},
		capabilities: []string{"multifd"}, transports: []string{tcp, unix}, notLost: true,
	},
	{name: "xbzrle", params: []param{{"mig_xbzrle", "yes"}}, capabilities: []string{"xbzrle"}, transports: []string{tcp, unix, exec, fd}},
	{name: "auto-converge", params: []param{{"mig_auto_converge", "yes"}}, capabilities: []string{"auto-converge"}, transports: []string{tcp, unix, exec, fd}},
	{name: "postcopy", capabilities: []string{"postcopy-ram"}, transports: []string{tcp, unix}, postcopy: true},
	{
		name: "postcopy-preempt", params: []param{{"mig_postcopy_preempt", "yes"}},
		capabilities: []string{"postcopy-ram", "postcopy-preempt"}, transports: []string{tcp, unix}, postcopy: true,
	},
	{name: "TLS by certificates", params: []param{{"mig_tls", "x509"}}, parameters: []string{"tls-creds"}, transports: []string{tcp}},
	{name: "TLS by a pre-shared key", params: []param{{"mig_tls", "psk"}}, parameters: []string{"tls-creds"}, transports: []string{tcp}},
}

func (f *feature) worksWith(transport string) bool {
	return f.transports == nil || slices.Contains(f.transports, transport)
}

// lacks says what the hosts lack for a feature; "": nothing.
func (f *feature) lacks(all []Abilities) string {
	for _, name := range f.capabilities {
		if !everywhere(all, func(a Abilities) bool { return slices.Contains(a.Capabilities, name) }) {
			return "a QEMU has no capability " + name
		}
	}
	for _, name := range f.parameters {
		if !everywhere(all, func(a Abilities) bool { return slices.Contains(a.Parameters, name) }) {
			return "a QEMU has no parameter " + name
		}
	}
	if f.postcopy && !everywhere(all, func(a Abilities) bool { return a.Userfaultfd }) {
		return "a host does not let QEMU use userfaultfd"
	}
	return ""
}

// What may happen while a migration is under way.
const (
	limits = "limits"
	pauses = "pause"
	resets = "reset"
	cuts   = "cut"
	freeze = "freeze"
)

// NewVocabulary returns the vocabulary of hosts that are able to do this, in their order.
func NewVocabulary(all []Abilities) *Vocabulary {
	v := &Vocabulary{Hosts: len(all), meanwhile: []string{limits, pauses, resets, freeze}}
	for _, t := range transports {
		if t.able(all) {
			v.transports = append(v.transports, t.name)
		} else {
			v.Missing = append(v.Missing, "mig_protocol = "+t.name+": "+t.reason)
		}
	}
	for _, f := range features {
		if lacks := f.lacks(all); lacks == "" {
			v.features = append(v.features, f)
		} else {
			v.Missing = append(v.Missing, f.name+": "+lacks)
		}
	}
	if everywhere(all, func(a Abilities) bool { return a.Firewall }) {
		v.meanwhile = append(v.meanwhile, cuts)
	} else {
		v.Missing = append(v.Missing, "blocked ports: they need root and nft on the hosts")
	}
	return v
}
