// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"path"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/runtime/qemu"
)

// parseProgram reads the params of a VM's QEMU.
func parseProgram(v api.Values) qemu.Program {
	p := qemu.Program{
		Binary: v.Word("qemu_binary"), Loader: v.Word("qemu_loader"), Libraries: v.Word("qemu_libs"),
		Modules: v.Word("qemu_modules"), Data: v.Word("qemu_data"),
	}
	version, dir := v.Word("qemu_version"), v.Word("qemu_versions_dir")
	switch {
	case version == "":
	case v.Has("qemu_dst_binary"):
		v.Unfit("qemu_dst_binary", "qemu_version = %s chooses the QEMU of this host too: use one of them", version)
	case !qemu.IsVersion(version):
		v.Invalid("qemu_version", "a version such as 10.0")
	case !path.IsAbs(dir):
		v.Unfit("qemu_version", "got %q, but qemu_versions_dir is %q: want the absolute path of the folder that has QEMU %s on the host", version, dir, version)
	default:
		return qemu.In(path.Join(dir, version), version)
	}
	if p.Loader != "" && !strings.Contains(p.Binary, "/") {
		v.Unfit("qemu_loader", "needs a path in param qemu_binary")
	}
	if p.Libraries != "" && p.Loader == "" {
		v.Unfit("qemu_libs", "needs param qemu_loader too")
	}
	return p
}
