// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"path"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/result"
)

// program is the QEMU that the params want on a host: a version, or a program's path.
type program struct{ host, version, path string }

// programsOf are the QEMUs of a variant's hosts, in their order.
func programsOf(o result.Outcome, params cartesian.Params) []program {
	var all []program
	for n, host := range o.Hosts {
		own := api.OnHost(params, fmt.Sprintf("host%d", n+1))
		p := program{host: host, version: own["qemu_version"]}
		if p.version == "" {
			p.path = own["qemu_binary"]
		}
		all = append(all, p)
	}
	return all
}

// programs are the QEMUs of a run. Where the params name no version, it is the one that
// Machines of the outcomes have, of this variant or of another one with that program.
type programs struct {
	asked    bool                       // for a version, by some variant
	found    map[string]bool            // versions of programs
	versions map[program]string         // by the program
	paths    map[string]map[string]bool // of programs, by their names without folders
}

func newPrograms() *programs {
	return &programs{found: map[string]bool{}, versions: map[program]string{}, paths: map[string]map[string]bool{}}
}

// note notes the QEMUs of a variant.
func (all *programs) note(o result.Outcome, of []program) {
	for _, p := range of {
		if p.version != "" {
			all.asked = true
			continue
		}
		name := path.Base(p.path)
		if all.paths[name] == nil {
			all.paths[name] = map[string]bool{}
		}
		all.paths[name][p.path] = true
		for _, m := range o.Machines {
			if version := m.QEMU[p.host]; version != "" {
				all.found[version] = true
				all.versions[p] = version
			}
		}
	}
}

// differ says whether the run is about versions of QEMU.
func (all *programs) differ() bool { return all.asked || len(all.found) > 1 }

// name is a QEMU's version, or else its program, with the folder if the run has several of
// that name.
func (all *programs) name(p program) string {
	name := path.Base(p.path)
	if len(all.paths[name]) > 1 {
		name = p.path
	}
	return cmp.Or(p.version, all.versions[p], name)
}
