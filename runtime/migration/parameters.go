// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
)

// settings is the feature of the capabilities and parameters that params name, on both
// ends: virt-test's capabilitys, capabilitys_state, parameters and parameters_value.
type settings struct {
	capabilities []string
	parameters   []parameter

	before  map[Role]map[string]any // the parameters before this migration
	dropped map[Role]string         // a parameter that was set, and has kept its value
}

// parameter is a migration parameter of QEMU with its value in the params.
type parameter struct {
	name, value string
	enum        bool // the value is one of an enum, which QEMU's schema has
}

// equals says whether the value is the same as another one: 16M is 16777216.
func (p parameter) equals(value string) bool {
	if p.value == value {
		return true
	}
	sizes := cartesian.Params{"one": p.value, "other": value}
	one, err1 := sizes.Size("one", 0, 1)
	other, err2 := sizes.Size("other", 0, 1)
	return err1 == nil && err2 == nil && one == other
}

// parameterNames are the members of QEMU's MigrationParameters, in any version. A QEMU
// that lacks one is too old or too new for the test; any other name is a mistake.
var parameterNames = []string{
	"announce-initial", "announce-max", "announce-rounds", "announce-step", "avail-switchover-bandwidth", "block-bitmap-mapping",
	"block-incremental", "compress-level", "compress-threads", "compress-wait-thread", "cpr-exec-command", "cpu-throttle-increment",
	"cpu-throttle-initial", "cpu-throttle-tailslow", "decompress-threads", "direct-io", "downtime-limit", "max-bandwidth",
	"max-cpu-throttle", "max-postcopy-bandwidth", "mode", "multifd-channels", "multifd-compression", "multifd-qatzip-level",
	"multifd-zlib-level", "multifd-zstd-level", "throttle-trigger-threshold", "tls-authz", "tls-creds", "tls-hostname",
	"vcpu-dirty-limit", "x-checkpoint-delay", "x-rdma-chunk-size", "x-vcpu-dirty-limit-period", "xbzrle-cache-size", "zero-page-detection",
}

// CheckNames returns an error for each name in capabilitys and parameters that mhmig does
// not know. It is none of [CheckParams]: a QEMU that is newer than mhmig may have it. It is
// pure.
func CheckNames(p cartesian.Params) error {
	v := api.Read(p)
	for _, list := range []struct {
		param, kind string
		known       []string
	}{{"capabilitys", "capability", capabilityNames}, {"parameters", "parameter", parameterNames}} {
		for _, name := range v.Names(list.param) {
			if !slices.Contains(list.known, name) {
				v.Unfit(list.param, "mhmig knows no migration %s %s: an ERROR, unless a newer QEMU has it%s", list.kind, name, meant(name, list.known))
			}
		}
	}
	return v.Err()
}

// meant asks for the name that was probably meant by one that no QEMU has.
func meant(name string, known []string) string {
	if slices.Contains(known, name) {
		return ""
	}
	if near := diag.Nearest(name, known); near != "" {
		return fmt.Sprintf("; did you mean %s?", near)
	}
	return ""
}

func newSettings(o options, _ Traits) Feature {
	return &settings{capabilities: o.capabilities, parameters: o.parameters, before: map[Role]map[string]any{}, dropped: map[Role]string{}}
}

// parseCapabilities returns the capabilities to switch on.
func parseCapabilities(v api.Values) []string {
	var on []string
	names, states := v.Names("capabilitys"), strings.Fields(v.Text("capabilitys_state"))
	if len(states) > len(names) {
		v.Invalid("capabilitys_state", fmt.Sprintf("at most one for each of capabilitys = %s", strings.Join(names, " ")))
	}
	for i, name := range names {
		switch {
		case i >= len(states) || states[i] == "enable":
			on = append(on, name)
		case states[i] != "disable":
			v.Invalid("capabilitys_state", "enable or disable for each of capabilitys")
		}
	}
	return on
}

func parseParameters(v api.Values) []parameter {
	var all []parameter
	names, values := v.Names("parameters"), strings.Fields(v.Text("parameters_value"))
	if len(names) != len(values) {
		v.Invalid("parameters_value", fmt.Sprintf("one value for each of parameters = %s", strings.Join(names, " ")))
		return nil
	}
	for i, name := range names {
		all = append(all, parameter{name: name, value: values[i]})
	}
	return all
}

func (f *settings) Capabilities(Role) []string { return f.capabilities }

func (f *settings) Parameters(Role) []string {
	var names []string
	for _, p := range f.parameters {
		name := p.name
		if p.enum {
			name += "/" + p.value
		}
		names = append(names, name)
	}
	return names
}

func (f *settings) Set(ctx context.Context, role Role, p Peer) error {
	if len(f.parameters) == 0 {
		return nil
	}
	var current map[string]any
	if err := p.Execute(ctx, "query-migrate-parameters", nil, &current); err != nil {
		return err
	}
	before, wanted := map[string]any{}, map[string]any{}
	for _, param := range f.parameters {
		value, err := param.as(current[param.name])
		if err != nil {
			return err
		}
		wanted[param.name] = value
		if old, has := current[param.name]; has {
			before[param.name] = old
		}
	}
	if err := p.Execute(ctx, "migrate-set-parameters", wanted, nil); err != nil {
		return err
	}
	f.before[role] = before
	return f.noteDropped(ctx, role, p, wanted)
}

// noteDropped notes which parameters have kept their value although they were set: at the
// end, the scenario may have set others by its own commands.
func (f *settings) noteDropped(ctx context.Context, role Role, p Peer, wanted map[string]any) error {
	var now map[string]any
	if err := p.Execute(ctx, "query-migrate-parameters", nil, &now); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		got, has := now[name]
		if n, isNumber := wanted[name].(int64); isNumber {
			wanted[name] = float64(n)
		}
		if has && reflect.DeepEqual(got, f.before[role][name]) && !reflect.DeepEqual(got, wanted[name]) {
			f.dropped[role] = fmt.Sprintf("%s was set to %s, but %s had %s then", name, plainNumber(wanted[name]), p, plainNumber(got))
			break
		}
	}
	return nil
}

// plainNumber writes a value of JSON, and numbers without an exponent.
func plainNumber(v any) string {
	if n, isNumber := v.(float64); isNumber {
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// Check checks that both ends have taken the parameters that were set.
func (f *settings) Check(_ context.Context, _ *Outcome) error {
	for _, role := range []Role{SourceRole, DestinationRole} {
		if dropped := f.dropped[role]; dropped != "" {
			return unused("%s", dropped)
		}
	}
	return nil
}

// as converts the value to the type of QEMU's current one.
func (p parameter) as(current any) (any, error) {
	key := "parameters_value"
	params := cartesian.Params{key: p.value}
	switch current.(type) {
	case float64:
		n, err := params.Size(key, 0, 1)
		if err != nil {
			return nil, fmt.Errorf("param %s: %s = %s: want a number or a size such as 64M", key, p.name, p.value)
		}
		return n, nil
	case bool:
		if !slices.Contains([]string{"on", "yes", "off", "no"}, p.value) {
			return nil, fmt.Errorf("param %s: %s = %s: want on or off", key, p.name, p.value)
		}
		return p.value == "on" || p.value == "yes", nil
	default:
		return p.value, nil
	}
}

func (f *settings) Reset(ctx context.Context, role Role, p Peer) error {
	if len(f.before[role]) == 0 {
		return nil
	}
	return p.Execute(ctx, "migrate-set-parameters", f.before[role], nil)
}
