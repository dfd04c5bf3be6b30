// SPDX-License-Identifier: Apache-2.0

package check

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// mount is a line of /proc/self/mountinfo.
type mount struct {
	point   string
	kind    string // ext4, nfs4, …
	source  string
	options []string // of the mount and of its file system
}

// mountOf returns the mount that a path without links is on. Of several on one folder the
// last one is in effect.
func mountOf(mountinfo, path string) (best mount, found bool) {
	for line := range strings.Lines(mountinfo) {
		m, valid := parseMount(line)
		inside := m.point == "/" || path == m.point || strings.HasPrefix(path, m.point+"/")
		if valid && inside && (!found || len(m.point) >= len(best.point)) {
			best, found = m, true
		}
	}
	return best, found
}

// parseMount parses a line, whose format proc(5) describes:
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
func parseMount(line string) (m mount, valid bool) {
	own, system, split := strings.Cut(line, " - ")
	fields, rest := strings.Fields(own), strings.Fields(system)
	if !split || len(fields) < 6 || len(rest) < 3 {
		return mount{}, false
	}
	return mount{
		point: unescape(fields[4]), kind: rest[0], source: unescape(rest[1]),
		options: append(strings.Split(fields[5], ","), strings.Split(rest[2], ",")...),
	}, true
}

// unescape replaces the kernel's \040 and the like.
func unescape(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+4 <= len(text) {
			if c, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

func (m mount) has(option string) bool { return slices.Contains(m.options, option) }

// nfsFault is an option of an NFS mount that is wrong for disk images.
type nfsFault struct {
	wrong func(m mount, pageCache bool) bool
	why   string
	want  string // option
}

var nfsFaults = []nfsFault{
	{
		func(m mount, _ bool) bool { return m.has("soft") || m.has("softerr") },
		"soft: when the server is slow, guests get I/O errors of their disks", "hard",
	},
	{
		func(m mount, _ bool) bool {
			return m.has("nolock") || m.has("local_lock=all") || m.has("local_lock=posix")
		},
		"locks are local: the QEMUs of two hosts may write to one image without noticing", "lock",
	},
	{
		func(m mount, pageCache bool) bool { return pageCache && !m.has("noac") && !m.has("actimeo=0") },
		"attributes are cached (no noac) and drive_cache uses the page cache: after a migration the destination may see an image's old size or data", "noac",
	},
}

// judgeMount is the verdict on the file system of images_base_dir.
func judgeMount(dir string, m mount, pageCache bool) finding {
	found := fmt.Sprintf("%s is writable, on %s (%s)", dir, m.kind, m.source)
	if m.kind != "nfs" && m.kind != "nfs4" {
		return ok("%s", found)
	}
	var why, want []string
	for _, f := range nfsFaults {
		if f.wrong(m, pageCache) {
			why, want = append(why, f.why), append(want, f.want)
		}
	}
	if len(why) == 0 {
		return ok("%s", found)
	}
	fix := fmt.Sprintf("mount %s at %s with the options %s", m.source, m.point, strings.Join(want, ","))
	if slices.Contains(want, "noac") {
		fix += "; drive_cache = none does without noac"
	}
	return warn(found+"; "+strings.Join(why, "; "), fix)
}
