// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/runtime/qmp"
)

const (
	announceInitial = "announce-initial"
	announceMax     = "announce-max"
	announceStep    = "announce-step"
	announceRounds  = "announce-rounds"
	announceFeature = "announce-self"
)

// parseAnnounce adds the parameters of mig_announce_initial, _max_delay, _step and _rounds, and
// says whether there is one.
func parseAnnounce(v api.Values, o *options) (on bool) {
	for _, p := range []struct{ param, name string }{{"mig_announce_initial", announceInitial}, {"mig_announce_max_delay", announceMax}, {"mig_announce_step", announceStep}} {
		if v.Has(p.param) {
			on = true
			o.addParameter(v, p.param, parameter{name: p.name, value: strconv.FormatInt(v.Seconds(p.param).Milliseconds(), 10)})
		}
	}
	if v.Has("mig_announce_rounds") {
		on = true
		o.addParameter(v, "mig_announce_rounds", parameter{name: announceRounds, value: strconv.Itoa(v.Int("mig_announce_rounds"))})
	}
	return on
}

// announce is the feature of the params mig_announce_…: how often, and when, the
// destination's QEMU tells the network where the guest is now. It sends a RARP packet for
// each NIC, in rounds. A filter-dump of QEMU records what its NICs send.
type announce struct {
	on     bool
	wanted []parameter
	dumps  map[string]string // by network backend: the file on the destination's host
	unseen string            // why there is none
}

func newAnnounce(o options, _ Traits) Feature {
	f := &announce{on: o.announce, dumps: map[string]string{}}
	for _, p := range o.parameters {
		switch p.name {
		case announceInitial, announceMax, announceStep, announceRounds:
			f.wanted = append(f.wanted, p)
		}
	}
	return f
}

func (*announce) Capabilities(Role) []string { return nil }

// Parameters are set by the feature settings.
func (f *announce) Parameters(Role) []string {
	var names []string
	for _, p := range f.wanted {
		names = append(names, p.name)
	}
	return names
}

// networkBackend matches the backend of a NIC in the output of info network.
var networkBackend = regexp.MustCompile(`(?m)^ *\\ (\S+): index=\d+,type=`)

// dumpedBytes is how much of each packet is recorded: more than the Ethernet header.
const dumpedBytes = 64

// Set makes the destination record what its NICs send.
func (f *announce) Set(ctx context.Context, role Role, p Peer) error {
	if !f.on || role != DestinationRole {
		return nil
	}
	var text string
	if err := p.Execute(ctx, "human-monitor-command", map[string]any{"command-line": "info network"}, &text); err != nil {
		return err
	}
	f.unseen = "the VM has no NIC"
	for _, match := range networkBackend.FindAllStringSubmatch(text, -1) {
		netdev := match[1]
		file := p.Spec().State + ".announced-" + netdev
		err := p.Execute(ctx, "object-add", map[string]any{"qom-type": "filter-dump", "id": dumpID(netdev), "netdev": netdev, "file": file, "maxlen": dumpedBytes}, nil)
		if refused, is := errors.AsType[*qmp.Error](err); is {
			f.unseen = fmt.Sprintf("QEMU cannot record what %s sends: %v", netdev, refused)
			continue
		}
		if err != nil {
			return err
		}
		f.dumps[netdev] = file
	}
	return nil
}

func dumpID(netdev string) string { return "announced-" + netdev }

// Reset ends the records.
func (f *announce) Reset(ctx context.Context, role Role, p Peer) error {
	if role != DestinationRole {
		return nil
	}
	for netdev, file := range f.dumps {
		if err := p.Execute(ctx, "object-del", map[string]any{"id": dumpID(netdev)}, nil); err != nil {
			return err
		}
		if err := p.Machine().RemoveAll(ctx, file); err != nil {
			return err
		}
	}
	f.dumps = map[string]string{}
	return nil
}

const (
	announceGrace    = 5 * time.Second // for the last announcement, on a busy host
	announceInterval = 100 * time.Millisecond
)

// Check checks that the destination has the parameters, and that it sent as many
// announcements for each NIC as it was to, not faster than it was to.
func (f *announce) Check(ctx context.Context, o *Outcome) error {
	if !f.on {
		return nil
	}
	var all map[string]any
	if err := o.Ask(ctx, DestinationRole, "query-migrate-parameters", &all); err != nil {
		return err
	}
	for _, p := range f.wanted {
		if got := fmt.Sprint(all[p.name]); got != p.value {
			return unused("%s was set to %s, but %s has %s", p.name, p.value, o.End(DestinationRole), got)
		}
	}
	number := func(name string) int64 { n, _ := all[name].(float64); return int64(n) }
	rounds := int(number(announceRounds))
	if rounds < 1 {
		return unused("one of the params mig_announce_… was set, but %s has announce-rounds %v", o.End(DestinationRole), all[announceRounds])
	}
	if len(f.dumps) == 0 {
		o.Idle(announceFeature, "nothing of it was seen: %s", f.unseen)
		return nil
	}
	timeOf := func(rounds int) time.Duration {
		return announceTime(rounds, number(announceInitial), number(announceMax), number(announceStep))
	}
	limit := timeOf(rounds) + announceGrace
	for netdev, file := range f.dumps {
		sent, err := f.awaitAnnouncements(ctx, o.ends[DestinationRole].Machine(), file, rounds, limit)
		if err != nil {
			return err
		}
		if len(sent) < rounds {
			return unused("announce-rounds is %d, but %s sent %d announcements (RARP) to %s within %v", rounds, o.End(DestinationRole), len(sent), netdev, limit)
		}
		sent = sent[:rounds]
		first := firstTimed(sent)
		if took, due := sent[rounds-1]-sent[first], timeOf(rounds)-timeOf(first+1); took < due*9/10 {
			return unused("%s sent the announcements %d to %d within %v, not within %v, as announce-initial, announce-step and announce-max say", o.End(DestinationRole), first+1, rounds, took, due)
		}
		o.Used(announceFeature, "the destination sent %d RARP packets to %s within %v", rounds, netdev, sent[rounds-1]-sent[0])
	}
	return nil
}

// firstTimed is the index of the first announcement from which on the guest's clock runs. It
// stands still before the guest runs, which may be between two announcements.
func firstTimed(sent []time.Duration) int {
	last := len(sent) - 1
	for i := 1; i < last; i++ {
		if sent[i] > sent[i-1] {
			return i
		}
	}
	return last
}

// announceTime is how long the rounds take, from the first announcement to the last. The
// parameters are milliseconds.
func announceTime(rounds int, initial, longest, step int64) time.Duration {
	sum := int64(0)
	for round := range max(rounds-1, 0) {
		sum += min(initial+int64(round)*step, longest)
	}
	return time.Duration(sum) * time.Millisecond
}

// awaitAnnouncements returns when announcements were sent, by the guest's clock, when there
// are as many, or the time is over.
func (*announce) awaitAnnouncements(ctx context.Context, m Machine, file string, rounds int, limit time.Duration) ([]time.Duration, error) {
	late := time.After(limit)
	for {
		dump, err := m.ReadFile(ctx, file)
		if err != nil {
			return nil, err
		}
		sent, err := announcements(dump)
		if err != nil {
			return nil, fmt.Errorf("%s on %s: %w", file, m.Name(), err)
		}
		if len(sent) >= rounds {
			return sent, nil
		}
		select {
		case <-time.After(announceInterval):
		case <-late:
			return sent, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// announcements returns when the RARP packets of a packet capture (pcap) were sent. A
// record that is not complete yet is left out.
func announcements(dump []byte) (sent []time.Duration, err error) {
	const (
		headerBytes, recordBytes, etherBytes = 24, 16, 14
		magic                                = 0xa1b2c3d4 // timestamps in microseconds
		rarp                                 = 0x8035
	)
	if len(dump) < headerBytes {
		return nil, nil
	}
	var order binary.ByteOrder = binary.LittleEndian
	if order.Uint32(dump) != magic {
		order = binary.BigEndian
	}
	if order.Uint32(dump) != magic {
		return nil, fmt.Errorf("no packet capture: it begins with % x", dump[:4])
	}
	for rest := dump[headerBytes:]; len(rest) >= recordBytes; {
		at := time.Duration(order.Uint32(rest))*time.Second + time.Duration(order.Uint32(rest[4:]))*time.Microsecond
		length := int64(order.Uint32(rest[8:]))
		rest = rest[recordBytes:]
		if length > int64(len(rest)) {
			break
		}
		packet := rest[:length]
		rest = rest[length:]
		if len(packet) >= etherBytes && bytes.Equal(packet[12:14], []byte{rarp >> 8, rarp & 0xff}) {
			sent = append(sent, at)
		}
	}
	return sent, nil
}
