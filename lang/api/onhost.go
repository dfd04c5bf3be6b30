// SPDX-License-Identifier: Apache-2.0

package api

import (
	"strings"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// OnHost returns the params of objects on the host with this label, such as host2: those of
// the host narrowed to the objects, from the outside to the inside. On all hosts but the
// first, qemu_dst_binary replaces a qemu_binary that is not the host's own.
func OnHost(params cartesian.Params, label string, objects ...string) cartesian.Params {
	own := params.Object(label)
	for _, o := range objects {
		own = own.Object(o)
	}
	source := params.Source("qemu_binary", append([]string{label}, objects...)...)
	if binary := own["qemu_dst_binary"]; binary != "" && label != "host1" && !strings.HasSuffix(source, "_"+label) {
		own["qemu_binary"] = binary
	}
	return own
}
