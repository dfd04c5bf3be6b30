// SPDX-License-Identifier: Apache-2.0

package api

import (
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// OnHost returns the params of objects on the host with this label, such as host2: those of
// the host narrowed to the objects, from the outside to the inside. On all hosts but the
// first, qemu_dst_binary replaces a qemu_binary that is not the host's own, with the params
// of its files. A qemu_binary replaces a qemu_version that is set for less: a host's own one
// that of all hosts. See [CheckQEMU].
func OnHost(params cartesian.Params, label string, objects ...string) cartesian.Params {
	host := params.Object(label)
	own := host
	for _, o := range objects {
		own = own.Object(o)
	}
	if dir, set := host["qemu_versions_dir"]; set { // a host has one for all its VMs
		own["qemu_versions_dir"] = dir
	}
	q := qemuParams{params, own, label, objects}
	if q.narrowness("qemu_binary") > q.narrowness("qemu_version") {
		delete(own, "qemu_version")
	}
	isOwn := func(name string) bool { return q.narrowness(name) == ofHost }
	binary := own["qemu_dst_binary"]
	if binary == "" || label == "host1" || isOwn("qemu_binary") {
		return own
	}
	own["qemu_binary"] = binary
	for _, name := range qemuFiles {
		if !isOwn(name) {
			delete(own, name)
		}
	}
	return own
}

// qemuFiles are the params of the files of qemu_binary.
var qemuFiles = []string{"qemu_loader", "qemu_libs", "qemu_modules", "qemu_data"}

// CheckQEMU returns the errors of params that choose the QEMU of objects on the host with
// this label, and have no effect beside its qemu_version, although they are set for as few.
func CheckQEMU(params cartesian.Params, label string, objects ...string) error {
	v := Read(OnHost(params, label, objects...))
	if !v.Has("qemu_version") {
		return nil
	}
	q := qemuParams{params, v.params, label, objects}
	version := q.narrowness("qemu_version")
	for _, name := range append([]string{"qemu_binary"}, qemuFiles...) {
		if n := q.narrowness(name); n > ofAll && n >= version {
			v.Unfit(name, "%s = %s has no effect, as %s = %s chooses the QEMU of %s with its files: use one of them",
				q.source(name), v.params[name], q.source("qemu_version"), v.params["qemu_version"], label)
		}
	}
	return v.Err()
}

// qemuParams are the params of a QEMU on a host.
type qemuParams struct {
	params, own cartesian.Params
	label       string
	objects     []string
}

// For how many a param is set: the more narrow, the higher.
const (
	unset = iota
	ofAll
	ofVM
	ofHost
)

// source is the name by which the variant sets a param.
func (q qemuParams) source(name string) string {
	return q.params.Source(name, append([]string{q.label}, q.objects...)...)
}

func (q qemuParams) narrowness(name string) int {
	switch source := q.source(name); {
	case strings.TrimSpace(q.own[name]) == "":
		return unset
	case strings.HasSuffix(source, "_"+q.label):
		return ofHost
	case source != name:
		return ofVM
	}
	return ofAll
}
