// SPDX-License-Identifier: Apache-2.0

package api

import (
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// OnHost returns the params of objects on the host with this label, such as host2: those of
// the host narrowed to the objects, from the outside to the inside. On all hosts but the
// first, qemu_dst_binary replaces a qemu_binary that is not the host's own, with the params
// of its files.
func OnHost(params cartesian.Params, label string, objects ...string) cartesian.Params {
	host := params.Object(label)
	own := host
	for _, o := range objects {
		own = own.Object(o)
	}
	if dir, set := host["qemu_versions_dir"]; set { // a host has one for all its VMs
		own["qemu_versions_dir"] = dir
	}
	isOwn := func(name string) bool {
		return strings.HasSuffix(params.Source(name, append([]string{label}, objects...)...), "_"+label)
	}
	binary := own["qemu_dst_binary"]
	if binary == "" || label == "host1" || isOwn("qemu_binary") {
		return own
	}
	own["qemu_binary"] = binary
	for _, name := range []string{"qemu_loader", "qemu_libs", "qemu_modules", "qemu_data"} {
		if !isOwn(name) {
			delete(own, name)
		}
	}
	return own
}
