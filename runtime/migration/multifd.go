// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
)

const (
	multifdCapability  = "multifd"
	multifdChannels    = "multifd-channels"
	multifdCompression = "multifd-compression"
)

// multifdOptions are mig_multifd, mig_multifd_channels, mig_multifd_compression and
// mig_zero_page_detection.
type multifdOptions struct {
	on         bool
	compressed bool // by a method other than none
}

func parseMultifd(v api.Values, o *options) multifdOptions {
	m := multifdOptions{on: o.uses(v, "mig_multifd", multifdCapability)}
	if n := v.Int("mig_multifd_channels"); n > 0 {
		o.addParameter(v, "mig_multifd_channels", parameter{name: multifdChannels, value: strconv.Itoa(n)})
	}
	for _, p := range []struct{ param, name string }{{"mig_multifd_compression", multifdCompression}, {"mig_zero_page_detection", zeroPageDetection}} {
		if method := v.Choice(p.param); v.Has(p.param) {
			o.addParameter(v, p.param, parameter{name: p.name, value: method, enum: true})
		}
	}
	m.compressed = slices.ContainsFunc(o.parameters, func(p parameter) bool { return p.name == multifdCompression && p.value != "none" })
	for _, param := range []string{"mig_multifd_channels", "mig_multifd_compression"} {
		if !m.on && v.Has(param) {
			v.Unfit(param, "needs mig_multifd = yes")
		}
	}
	return m
}

// multifd is the feature of mig_multifd: the guest's memory goes through several
// connections at the same time, and may be compressed; or several threads write it to a
// file of mapped-ram (QEMU 9.0 or later).
type multifd struct {
	switched
	set []parameter // of parameters: what QEMU must have
}

func newMultifd(o options, _ Traits) Feature {
	f := &multifd{switched: switched{multifdCapability, o.multifd.on}}
	for _, p := range o.parameters {
		if p.name == multifdChannels || p.name == multifdCompression {
			f.set = append(f.set, p)
		}
	}
	return f
}

// Check checks that memory went through the channels, that there were as many as QEMU
// was to have, that both ends have the parameters that were set, and that the memory was
// compressed. The destination's QEMU refuses a packet that is compressed by another method
// than its own.
func (f *multifd) Check(ctx context.Context, o *Outcome) error {
	for _, p := range f.set {
		if err := o.checkSet(ctx, p); err != nil {
			return err
		}
	}
	if !f.on {
		return nil
	}
	sent, reported := o.RAM("multifd-bytes")
	switch {
	case !reported:
		return unused("multifd was on, but QEMU reports no multifd-bytes")
	case sent == 0:
		return unused("multifd was on, but no memory went through its channels: multifd-bytes is 0")
	}
	channels, err := o.Parameter(ctx, SourceRole, multifdChannels)
	if err != nil {
		return err
	}
	number, _ := channels.(float64)
	wanted := int(number) + 1 // one more connection carries the rest
	if o.Connections.fewerThan(wanted) {
		return unused("multifd was on with %v channels, but there were %d connections to the destination, not %d", channels, o.Connections.Most, wanted)
	}
	var seen strings.Builder
	fmt.Fprintf(&seen, "%d bytes went through %v channels", sent, channels)
	if o.Connections.Most >= wanted {
		fmt.Fprintf(&seen, ", there were %d connections to the destination", o.Connections.Most)
	}
	for _, p := range f.set {
		if p.name != multifdCompression {
			continue
		}
		saved, err := o.compression(ctx, p.value, sent)
		if err != nil {
			return err
		}
		fmt.Fprintf(&seen, ", both ends have %s %s%s", p.name, p.value, saved)
	}
	o.Used(multifdCapability, "%s", seen.String())
	return nil
}

const (
	// countsCompressed is a parameter that a QEMU has whose multifd-bytes are those that
	// are sent (8.2 or later). Before 8.1, they are those of the pages.
	countsCompressed = "avail-switchover-bandwidth"
	// leastCompressed is how many pages show whether they are compressed: the packets of
	// fewer may have more in their headers than they save.
	leastCompressed = 2048
)

// compression checks that the channels have carried less than the pages that they were to
// compress, and returns what shows it, or why it is not known. Pages that are sent as they
// are take more, by their headers. What every guest has of the kind that becomes smaller,
// its kernel and the tables of its memory, saves more than those, unless the guest writes
// for long what does not.
func (o *Outcome) compression(ctx context.Context, method string, sent int64) (seen string, err error) {
	if method == "none" {
		return "", nil
	}
	counts, err := o.Parameter(ctx, SourceRole, countsCompressed)
	if err != nil {
		return "", err
	}
	normal, _ := o.RAM("normal")
	pageSize, _ := o.RAM("page-size")
	total, _ := o.RAM("total")
	pages := normal * pageSize
	const unknown = ": whether it made the pages smaller is not known: "
	switch {
	case counts == nil:
		return unknown + "this QEMU counts their bytes before it compresses them", nil
	case o.Postcopy:
		return unknown + "post-copy sent others besides", nil
	case sent < pages:
		return fmt.Sprintf(": their pages take %d bytes uncompressed", pages), nil
	case normal < leastCompressed:
		return unknown + "too few were sent", nil
	case pages > 2*total:
		return unknown + "the guest wrote so many, which may be of a kind that does not become smaller", nil
	}
	return "", unused("%s was set to %s, but the %d bytes of pages were sent as %d (multifd-bytes)", multifdCompression, method, pages, sent)
}
