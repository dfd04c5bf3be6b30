// SPDX-License-Identifier: Apache-2.0

package run

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/vm"
)

// ParamError is the error of an invalid value of a variant's param.
type ParamError struct {
	Key string // as the config sets it
	Err error
}

func (e *ParamError) Error() string { return e.Err.Error() }

func (e *ParamError) Unwrap() error { return e.Err }

// CheckParams returns the errors of all invalid values of a variant's params, for a run
// on this number of hosts. It is pure.
func CheckParams(params cartesian.Params, hosts int) []*ParamError {
	faults := paramErrors{params: params}
	faults.add(checkRows(params, api.Variant))
	for n := range max(hosts, 1) {
		label := fmt.Sprintf("host%d", n+1)
		faults.add(checkRows(params.Object(label), api.Host), label)
		for _, name := range params.Objects("vms") {
			_, err := vm.ParseConfig(name, api.OnHost(params, label, name))
			faults.add(err, label, name)
			faults.addOf(name, api.CheckQEMU(params, label, name), label, name)
		}
	}
	return faults.all
}

// CheckAllParams is CheckParams with what a run finds only where the scenario starts a
// guest, or migrates: also params that migrations cannot have together, and those of a VM
// that differ between hosts. A run cannot check all of them before, as a scenario may change
// them for one of its migrations. It is pure.
func CheckAllParams(params cartesian.Params, hosts int) []*ParamError {
	faults := paramErrors{params: params, all: CheckParams(params, hosts)}
	var configs []vm.Config
	first := map[string]vm.HostConfig{} // of each VM
	for n := range max(hosts, 1) {
		label := fmt.Sprintf("host%d", n+1)
		for _, name := range params.Objects("vms") {
			own := api.OnHost(params, label, name)
			faults.addOf(name, checkRows(own, api.VM), label, name)
			config, err := vm.ParseConfig(name, own)
			if err != nil {
				continue // one of CheckParams
			}
			here := vm.HostConfig{Label: label, Params: params, Config: config}
			if _, known := first[name]; !known {
				first[name] = here
				configs = append(configs, config)
			}
			faults.addOf(name, migration.CheckVM(params, config, hosts), label, name)
			faults.addOf(name, vm.CheckSame(first[name], here))
		}
	}
	faults.add(migration.CheckParams(params))
	if names := params.Objects("vms"); len(names) > 0 && len(configs) == len(names) {
		faults.add(migration.CheckDisks(params, configs))
	}
	return faults.all
}

// CheckNames returns the errors of names that mhmig does not know, and that a QEMU which is
// newer may have: those of capabilities and parameters of migrations. It is pure.
func CheckNames(params cartesian.Params) []*ParamError {
	faults := paramErrors{params: params}
	faults.add(migration.CheckNames(params))
	return faults.all
}

// checkRows checks the params of one kind of object by themselves.
func checkRows(params cartesian.Params, object api.Object) error {
	v := api.Read(params)
	for _, p := range api.All() {
		if p.Object == object {
			v.Check(p)
		}
	}
	return v.Err()
}

// paramErrors are the errors of a variant's params, each once.
type paramErrors struct {
	params cartesian.Params
	all    []*ParamError
}

// add adds the errors that err joins, of params of these objects.
func (f *paramErrors) add(err error, objects ...string) {
	for _, e := range splitErrors(err) {
		found := &ParamError{Err: e}
		if value, ok := errors.AsType[*api.ValueError](e); ok {
			found.Key = f.params.Source(value.Param, append(objects, value.Objects...)...)
		}
		if difference, ok := errors.AsType[*vm.DifferenceError](e); ok {
			found.Key = difference.Params[0]
		}
		if !slices.ContainsFunc(f.all, func(o *ParamError) bool { return o.Error() == found.Error() }) {
			f.all = append(f.all, found)
		}
	}
}

// addOf is add for errors that do not name their VM.
func (f *paramErrors) addOf(name string, err error, objects ...string) {
	for _, e := range splitErrors(err) {
		f.add(fmt.Errorf("%s: %w", name, e), objects...)
	}
}

// splitErrors splits a joined error.
func splitErrors(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// UnsupportedParam is a param whose effect mhmig does not support.
type UnsupportedParam struct {
	Key     string
	Text    string // a message with the param and its effect
	Decides bool   // it decides what the variant's migrations test: an error, not a warning
}

// ScenarioReads is what a scenario reads of params by itself, as far as its text says.
type ScenarioReads interface {
	Mentions(key string) bool        // it names the param
	MayReadOf(name, key string) bool // it may read the param name of the object whose suffix key has
}

// Unsupported returns the params whose effect neither mhmig supports nor the scenario, so
// that the variant does not test what its config says. reads is nil if the scenario is not
// known.
func Unsupported(params cartesian.Params, reads ScenarioReads) []UnsupportedParam {
	var all []UnsupportedParam
	for _, key := range slices.Sorted(maps.Keys(params)) {
		if u, known := api.FindUnsupported(key); known && u.Differs(params[key]) && (reads == nil || !reads.Mentions(u.Name)) {
			all = append(all, UnsupportedParam{Key: key, Text: fmt.Sprintf("param %s = %s is not supported: %s", key, params[key], u.Effect)})
		}
	}
	for _, p := range api.IneffectiveParams(params) {
		if reads == nil || !reads.MayReadOf(p.Param.Name, p.Key) {
			all = append(all, UnsupportedParam{Key: p.Key, Decides: p.Decides(), Text: fmt.Sprintf("param %s = %s: %s", p.Key, params[p.Key], p)})
		}
	}
	return append(all, ignored(params)...)
}

// ignored returns the params that have no effect together with others of the same VM, on
// any of the hosts that the params name.
func ignored(params cartesian.Params) []UnsupportedParam {
	var all []UnsupportedParam
	for n := range max(namedHosts(params), 1) {
		label := fmt.Sprintf("host%d", n+1)
		for _, name := range params.Objects("vms") {
			c, err := vm.ParseConfig(name, api.OnHost(params, label, name))
			if err != nil {
				continue // CheckParams reports it
			}
			for _, i := range c.Ignored {
				objects := []string{label, name}
				if i.Object != "" {
					objects = append(objects, i.Object)
				}
				key := params.Source(i.Param, objects...)
				found := UnsupportedParam{Key: key, Text: fmt.Sprintf("param %s = %s has no effect: %s", key, params[key], i.Reason)}
				if !slices.Contains(all, found) {
					all = append(all, found)
				}
			}
		}
	}
	return all
}

// namedHosts is the highest number of a host that a param is set for.
func namedHosts(params cartesian.Params) int {
	highest := 0
	for key := range params {
		_, n := ofHost(key)
		highest = max(highest, n)
	}
	return highest
}

// ofHost splits a param of a host: qemu_version_host2 into qemu_version and 2. The number is
// 0 if it is of none, or of one beyond maxNamedHosts.
func ofHost(key string) (base string, number int) {
	i := strings.LastIndex(key, "_host")
	if i < 0 {
		return key, 0
	}
	n, err := strconv.Atoi(key[i+len("_host"):])
	if err != nil || n < 1 || n > maxNamedHosts {
		return key, 0
	}
	return key[:i], n
}

// maxNamedHosts limits the hosts whose params are looked through before any are known.
const maxNamedHosts = 64

// unread returns the user's params that were never read: of the config, and those that
// the scenario set for a migration. Params of mhmig's own configs and of its labs are
// not the user's.
func unread(params cartesian.Params, read map[string]bool, set, origins map[string]string) []result.UnreadParam {
	params = maps.Clone(params)
	for key := range set {
		params[key] = ""
	}
	var all []result.UnreadParam
	for _, u := range api.UnreadParams(params, read) {
		origin, inScenario := set[u.Key]
		if !inScenario {
			origin = origins[u.Key]
		}
		if origins != nil && (origin == "" || origin == labOrigin || strings.HasPrefix(origin, "@")) {
			continue
		}
		all = append(all, result.UnreadParam{Key: u.Key, Origin: origin, Nearest: u.Nearest})
	}
	return all
}

// unreadParams are the unread params of all variants of a run, in the order in which
// they were found.
type unreadParams struct {
	mu   sync.Mutex // guards what follows
	keys []string
	near map[string]string
}

func (u *unreadParams) add(found []result.UnreadParam) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.near == nil {
		u.near = map[string]string{}
	}
	for _, p := range found {
		if _, known := u.near[p.Key]; !known {
			u.keys = append(u.keys, p.Key)
			u.near[p.Key] = p.Nearest
		}
	}
}

// maxNamed is how many unread params the log message names; the report has them all.
const maxNamed = 8

// String lists the unread params, those with a suggestion first.
func (u *unreadParams) String() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	slices.SortStableFunc(u.keys, func(a, b string) int {
		return strings.Compare(u.near[b], u.near[a])
	})
	var named []string
	for _, key := range u.keys[:min(len(u.keys), maxNamed)] {
		if near := u.near[key]; near != "" {
			key += fmt.Sprintf(" (did you mean %s?)", near)
		}
		named = append(named, key)
	}
	if more := len(u.keys) - len(named); more > 0 {
		named = append(named, fmt.Sprintf("and %d more, see the report", more))
	}
	return strings.Join(named, ", ")
}
