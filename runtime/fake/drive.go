// SPDX-License-Identifier: Apache-2.0

package fake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/mhmig/mhmig/runtime/fake/shell"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/vm"
)

// drive is a disk, CD-ROM or floppy drive of a QEMU.
type drive struct {
	id   string // of the device
	name string // of the image, disc or disk: what params call it
	kind driveKind

	mu   sync.Mutex // guards what follows
	file string     // "": empty
	open bool       // the tray
}

type driveKind int

const (
	diskDrive driveKind = iota
	cdromDrive
	floppyDrive
)

func (d *drive) is(name string) bool { return d.name == name || d.id == name }

func (d *drive) medium() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.file
}

// text is the value of an option's property, "" if it has none.
func text(o vm.Option, name string) string {
	for _, p := range o.Properties {
		if p.Name == name {
			return fmt.Sprint(p.Value)
		}
	}
	return ""
}

// drivesOf finds the drives among the options of a QEMU.
func (q *qemu) drivesOf(options []vm.Option) []*drive {
	files := map[string]string{} // by the name of a block node
	for _, o := range options {
		if o.Flag != "-blockdev" {
			continue
		}
		file := text(o, "filename")
		if file == "" {
			file = files[text(o, "file")]
		}
		files[text(o, "node-name")] = file
	}
	var drives []*drive
	for _, o := range options {
		kind, is := kindOf(o.Kind)
		if o.Flag != "-device" || !is {
			continue
		}
		node := text(o, "drive")
		d := &drive{id: text(o, "id"), name: strings.TrimPrefix(node, "drive_"), kind: kind, file: files[node]}
		if d.name == "" {
			d.name = d.id
		}
		drives = append(drives, d)
	}
	return drives
}

// kindOf is the kind of drive of a device's driver.
func kindOf(driver string) (kind driveKind, is bool) {
	switch driver {
	case "virtio-blk-pci", "scsi-hd", "ide-hd":
		return diskDrive, true
	case "ide-cd", "scsi-cd":
		return cdromDrive, true
	case "floppy":
		return floppyDrive, true
	}
	return 0, false
}

// devices are the drives of a VM's guest that boots now.
func (w *World) devices(vm string) []*driveDevice {
	q := w.current(vm)
	if q == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	var devices []*driveDevice
	for _, d := range q.drives {
		devices = append(devices, &driveDevice{w, vm, d.id, d.kind})
	}
	return devices
}

// node is the name of a guest's drive of this kind and number.
func (k driveKind) node(n int) string {
	switch k {
	case cdromDrive:
		return fmt.Sprintf("sr%d", n)
	case floppyDrive:
		return fmt.Sprintf("fd%d", n)
	}
	return "vd" + string(rune('a'+n))
}

// plugDrives gives the guest drives that were plugged in.
func (q *qemu) plugDrives(drives []*drive) {
	q.mu.Lock()
	q.drives = append(q.drives, drives...)
	q.mu.Unlock()
	files := q.g.current().Files
	for _, d := range drives {
		q.g.kit.addDrive(files, &driveDevice{q.w, q.config.Name, d.id, d.kind})
	}
}

// driveDevice is a device node: what it has is what the drive has in the QEMU that the
// guest is in.
type driveDevice struct {
	w    *World
	vm   string
	id   string
	kind driveKind
}

var errNoMedium = errors.New("no medium found")

// content is the content of the drive's medium.
func (n *driveDevice) content() (shell.Device, error) {
	q := n.w.current(n.vm)
	if q == nil {
		return nil, errNoMedium
	}
	q.mu.Lock()
	i := slices.IndexFunc(q.drives, func(d *drive) bool { return d.id == n.id })
	var file string
	if i >= 0 {
		file = q.drives[i].medium()
	}
	q.mu.Unlock()
	if file == "" {
		return nil, errNoMedium
	}
	if n.kind != diskDrive {
		return &fileDevice{n.w.shared, file}, nil
	}
	return n.w.disk(file), nil
}

// ReadAt, WriteAt and Size make it a [shell.Device].
func (n *driveDevice) ReadAt(p []byte, offset int64) (int, error) {
	c, err := n.content()
	if err != nil {
		return 0, err
	}
	return c.ReadAt(p, offset)
}

// WriteAt writes to the medium.
func (n *driveDevice) WriteAt(p []byte, offset int64) (int, error) {
	c, err := n.content()
	if err != nil {
		return 0, err
	}
	return c.WriteAt(p, offset)
}

// Size is that of the medium.
func (n *driveDevice) Size() int64 {
	c, err := n.content()
	if err != nil {
		return 0
	}
	return c.Size()
}

// fileDevice is a raw image on the shared storage.
type fileDevice struct {
	files *shell.Files
	name  string
}

// ReadAt, WriteAt and Size make it a [shell.Device].
func (d *fileDevice) ReadAt(p []byte, offset int64) (int, error) {
	data, err := d.files.ReadFile(d.name)
	return copy(p, data[min(offset, int64(len(data))):]), err
}

// WriteAt writes to the image, whose size does not change.
func (d *fileDevice) WriteAt(p []byte, offset int64) (int, error) {
	data, err := d.files.ReadFile(d.name)
	if err != nil {
		return 0, err
	}
	n := copy(data[min(offset, int64(len(data))):], p)
	return n, d.files.WriteFile(d.name, data)
}

// Size is that of the image.
func (d *fileDevice) Size() int64 {
	info, err := d.files.Stat(d.name)
	if err != nil {
		return 0
	}
	return info.Size()
}

// disk is the content of an image of a disk, which zeros follow.
type disk struct {
	size int64

	mu   sync.Mutex // guards data
	data []byte
}

// defaultDisk is the size of a disk of an installed guest.
const defaultDisk = 1 << 30

func (w *World) disk(file string) *disk {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.disks[file] == nil {
		size := w.sizes[file]
		if size == 0 {
			size = defaultDisk
		}
		w.disks[file] = &disk{size: size}
	}
	return w.disks[file]
}

// mirrored copies the disk with a block node to the VM's QEMU that waits for its guest.
func (q *qemu) mirrored(node string) {
	q.w.mu.Lock()
	others := slices.Clone(q.w.qemus[q.config.Name])
	q.w.mu.Unlock()
	for _, other := range others {
		if other == q || other.hasEnded() || other.process.RunState() != "inmigrate" {
			continue
		}
		for _, from := range q.all() {
			for _, to := range other.all() {
				if vm.DiskNode(from.name) == node && to.name == from.name {
					q.w.disk(to.medium()).copy(q.w.disk(from.medium()))
				}
			}
		}
	}
}

// copy makes the disk's content that of another one.
func (d *disk) copy(from *disk) {
	from.mu.Lock()
	data := slices.Clone(from.data)
	from.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.data = data
}

// ReadAt, WriteAt and Size make it a [shell.Device].
func (d *disk) ReadAt(p []byte, offset int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := int(min(int64(len(p)), d.size-offset))
	clear(p[:n])
	if offset < int64(len(d.data)) {
		copy(p[:n], d.data[offset:])
	}
	return n, nil
}

// WriteAt writes as much as the disk has room for.
func (d *disk) WriteAt(p []byte, offset int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	end := offset + int64(len(p))
	if end > d.size {
		return 0, fs.ErrInvalid
	}
	if grow := end - int64(len(d.data)); grow > 0 {
		d.data = append(d.data, make([]byte, grow)...)
	}
	return copy(d.data[offset:], p), nil
}

// Size is that of the disk.
func (d *disk) Size() int64 { return d.size }

// all are the drives that the QEMU has now.
func (q *qemu) all() []*drive {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.drives)
}

// cdrom is the ID of a VM's first CD-ROM drive, "" if it has none.
func (w *World) cdrom(vm string) string {
	if q := w.current(vm); q != nil {
		for _, d := range q.all() {
			if d.kind == cdromDrive {
				return d.id
			}
		}
	}
	return ""
}

// eject opens a drive's tray.
func (w *World) eject(vm, id string) {
	if q := w.current(vm); q != nil {
		for _, d := range q.all() {
			if d.id == id {
				d.change("", true)
			}
		}
	}
}

func (d *drive) change(file string, open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.file, d.open = file, open
}

// deviceCommand answers the QMP commands that concern devices, and those that a test of a
// guest needs.
func (q *qemu) deviceCommand(command string, arguments json.RawMessage) (value any, err error, answered bool) { //nolint:revive // as Script.Execute has it
	var a struct {
		ID       string `json:"id"`
		Device   string `json:"device"`
		Filename string `json:"filename"`
		Node     string `json:"node"`
		Name     string `json:"name"`
	}
	_ = json.Unmarshal(arguments, &a) // of other commands it has other members
	none := map[string]any{}
	switch command {
	case "query-named-block-nodes":
		return q.nodes(), nil, true
	case "block-dirty-bitmap-add":
		q.w.addBitmap(q.config.Name, a.Node, a.Name)
		return none, nil, true
	case "system_reset":
		q.g.boot()
		return nil, nil, false
	case "system_wakeup":
		q.process.Wake()
		return none, nil, true
	case "query-block":
		return q.blocks(), nil, true
	case "blockdev-change-medium":
		for _, d := range q.all() {
			if d.is(a.ID) {
				if q.g.kit.isLocked(d.id) {
					return nil, &qmptest.CommandError{Class: "GenericError", Desc: "Device '" + a.ID + "' is locked and force was not specified, wait for tray to open and try again"}, true
				}
				d.change(a.Filename, false)
				return none, nil, true
			}
		}
		return nil, &qmptest.CommandError{Class: "DeviceNotFound", Desc: "Device '" + a.ID + "' not found"}, true
	case "eject":
		for _, d := range q.all() {
			if d.is(a.ID) || d.is(a.Device) {
				if q.g.kit.isLocked(d.id) {
					return nil, &qmptest.CommandError{Class: "GenericError", Desc: "Device is locked"}, true
				}
				d.change("", true)
				return none, nil, true
			}
		}
	case "query-version":
		return map[string]any{"qemu": map[string]any{"major": 9, "minor": 2, "micro": 0}, "package": ""}, nil, true
	case "query-cpus-fast":
		cpus := []map[string]any{}
		for n := range q.w.cpus(q.config.Name) {
			cpus = append(cpus, map[string]any{"cpu-index": n})
		}
		return cpus, nil, true
	}
	return nil, nil, false
}

// addBitmap gives a block node of a VM a dirty bitmap, which is wherever its guest is.
func (w *World) addBitmap(vm, node, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := vm + " " + node
	w.bitmaps[key] = append(w.bitmaps[key], map[string]any{"name": name, "recording": true, "busy": false, "persistent": true, "granularity": 65536, "count": 0})
}

// nodes is the reply of query-named-block-nodes: the disks.
func (q *qemu) nodes() []map[string]any {
	nodes := []map[string]any{}
	for _, d := range q.all() {
		if d.kind == diskDrive {
			name := vm.DiskNode(d.name)
			q.w.mu.Lock()
			nodes = append(nodes, map[string]any{"node-name": name, "drv": "qcow2", "ro": false, "dirty-bitmaps": slices.Clone(q.w.bitmaps[q.config.Name+" "+name])})
			q.w.mu.Unlock()
		}
	}
	return nodes
}

// blocks is the reply of query-block.
func (q *qemu) blocks() []map[string]any {
	blocks := []map[string]any{}
	for _, d := range q.all() {
		d.mu.Lock()
		block := map[string]any{"device": "", "qdev": d.id, "type": "unknown", "removable": d.kind != diskDrive, "locked": q.g.kit.isLocked(d.id)}
		if d.kind != diskDrive {
			block["tray_open"] = d.open
		}
		if d.file != "" {
			block["inserted"] = map[string]any{"file": d.file, "node-name": "drive_" + d.name}
		}
		d.mu.Unlock()
		blocks = append(blocks, block)
	}
	return blocks
}
