// SPDX-License-Identifier: Apache-2.0

package shell

import (
	"crypto/rand"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Files is a file system in memory. Its methods may be called from any goroutine.
type Files struct {
	mu     sync.Mutex // guards what follows
	nodes  map[string]*node
	mounts map[string]*Files // other file systems, by the folders that they are seen in
}

// Mount shows a folder of another file system, under its name there, in this one.
func (f *Files) Mount(dir string, other *Files) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mounts == nil {
		f.mounts = map[string]*Files{}
	}
	f.mounts[path.Clean(dir)] = other
}

// of returns the file system that a file is in.
func (f *Files) of(name string) *Files {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = path.Clean(name)
	for dir, other := range f.mounts {
		if name == dir || strings.HasPrefix(name, dir+"/") {
			return other
		}
	}
	return f
}

// node is a file or folder.
type node struct {
	mode   fs.FileMode
	data   []byte
	time   time.Time
	device Device // nil: data is the content
}

// Device is a file whose content is not in the file system: a device node, or a file of
// /proc. It may be called from any goroutine.
type Device interface {
	// ReadAt fills p from an offset, and returns how much there is: less than len(p) at the
	// end.
	ReadAt(p []byte, offset int64) (int, error)
	WriteAt(p []byte, offset int64) (int, error)
	Size() int64 // -1: endless
}

// NewFiles returns a file system with the folders that every Linux has.
func NewFiles() *Files {
	f := &Files{nodes: map[string]*node{"/": {mode: fs.ModeDir | 0o755}}}
	for _, dir := range []string{"/dev", "/etc", "/proc", "/root", "/run", "/sys", "/tmp", "/usr/bin", "/var/tmp"} {
		f.makeAll(dir)
	}
	f.nodes["/dev/null"] = &node{mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, device: null{}}
	f.nodes["/dev/zero"] = &node{mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, device: zeros{}}
	f.nodes["/dev/urandom"] = &node{mode: fs.ModeDevice | fs.ModeCharDevice | 0o666, device: random{}}
	return f
}

func notFound(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist} }

func (f *Files) makeAll(name string) {
	for dir := path.Clean(name); f.nodes[dir] == nil; dir = path.Dir(dir) {
		f.nodes[dir] = &node{mode: fs.ModeDir | 0o755, time: time.Now()}
	}
}

// MkdirAll makes a folder and those above it.
func (f *Files) MkdirAll(name string) error {
	f = f.of(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	for dir := path.Clean(name); dir != "/"; dir = path.Dir(dir) {
		if n := f.nodes[dir]; n != nil && !n.mode.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrExist}
		}
	}
	f.makeAll(name)
	return nil
}

// SetDevice makes a device node, of a mode as in package fs; a nil device removes it.
func (f *Files) SetDevice(name string, mode fs.FileMode, device Device) {
	f = f.of(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.makeAll(path.Dir(name))
	if device == nil {
		delete(f.nodes, path.Clean(name))
		return
	}
	f.nodes[path.Clean(name)] = &node{mode: mode, device: device, time: time.Now()}
}

// SetText makes a read-only file whose content text returns at each reading.
func (f *Files) SetText(name string, text func() string) {
	f.SetDevice(name, 0o444, textFile(text))
}

// maxRead is how much of an endless file is read.
const maxRead = 64 << 20

// ReadFile returns the content of a file or device.
func (f *Files) ReadFile(name string) ([]byte, error) {
	return f.read(name, 0, maxRead)
}

func (f *Files) read(name string, offset, limit int64) ([]byte, error) {
	f = f.of(name)
	n, err := f.find("open", name)
	if err != nil {
		return nil, err
	}
	if n.mode.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("is a directory")}
	}
	if n.device == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		end := min(int64(len(n.data)), offset+limit)
		return slices.Clone(n.data[min(offset, end):end]), nil
	}
	if size := n.device.Size(); size >= 0 {
		limit = min(limit, max(0, size-offset))
	}
	data := make([]byte, limit)
	count, err := n.device.ReadAt(data, offset)
	return data[:count], err
}

func (f *Files) find(op, name string) (*node, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[path.Clean(name)]
	if n == nil {
		return nil, notFound(op, name)
	}
	return n, nil
}

// WriteFile replaces the content of a file, or writes to a device.
func (f *Files) WriteFile(name string, data []byte) error { return f.write(name, data, 0, true) }

// Append appends to a file.
func (f *Files) Append(name string, data []byte) error { return f.write(name, data, -1, false) }

// write writes at an offset, -1 for the end.
func (f *Files) write(name string, data []byte, offset int64, truncate bool) error {
	f = f.of(name)
	f.mu.Lock()
	name = path.Clean(name)
	n := f.nodes[name]
	if n == nil {
		if parent := f.nodes[path.Dir(name)]; parent == nil || !parent.mode.IsDir() {
			f.mu.Unlock()
			return notFound("open", name)
		}
		n = &node{mode: 0o644}
		f.nodes[name] = n
	}
	if n.mode.IsDir() {
		f.mu.Unlock()
		return &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("is a directory")}
	}
	if n.device != nil {
		f.mu.Unlock()
		_, err := n.device.WriteAt(data, max(offset, 0))
		return err
	}
	defer f.mu.Unlock()
	if truncate {
		n.data = n.data[:0:0]
	}
	if offset < 0 {
		offset = int64(len(n.data))
	}
	if grow := offset + int64(len(data)) - int64(len(n.data)); grow > 0 {
		n.data = append(n.data, make([]byte, grow)...)
	}
	copy(n.data[offset:], data)
	n.time = time.Now()
	return nil
}

// Truncate sets the size of a file, which is made if it does not exist.
func (f *Files) Truncate(name string, size int64) error {
	data, err := f.ReadFile(name)
	if err != nil {
		data = nil
	}
	resized := make([]byte, size)
	copy(resized, data)
	return f.WriteFile(name, resized)
}

// Remove removes a file or an empty folder.
func (f *Files) Remove(name string) error {
	f = f.of(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	name = path.Clean(name)
	if f.nodes[name] == nil {
		return notFound("remove", name)
	}
	for other := range f.nodes {
		if strings.HasPrefix(other, name+"/") {
			return &fs.PathError{Op: "remove", Path: name, Err: fmt.Errorf("directory not empty")}
		}
	}
	delete(f.nodes, name)
	return nil
}

// RemoveAll removes a file, or a folder with all that it has.
func (f *Files) RemoveAll(name string) {
	f = f.of(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	name = path.Clean(name)
	maps.DeleteFunc(f.nodes, func(other string, _ *node) bool {
		return other == name || strings.HasPrefix(other, name+"/")
	})
}

// Rename moves a file or folder.
func (f *Files) Rename(from, to string) error {
	if f.of(from) != f.of(to) {
		data, err := f.ReadFile(from)
		if err == nil {
			err = f.WriteFile(to, data)
		}
		if err == nil {
			err = f.Remove(from)
		}
		return err
	}
	f = f.of(from)
	f.mu.Lock()
	defer f.mu.Unlock()
	from, to = path.Clean(from), path.Clean(to)
	if f.nodes[from] == nil {
		return notFound("rename", from)
	}
	if n := f.nodes[to]; n != nil && n.mode.IsDir() {
		to = path.Join(to, path.Base(from))
	}
	moved := map[string]*node{}
	for name, n := range f.nodes {
		if rest, below := strings.CutPrefix(name, from+"/"); below {
			moved[to+"/"+rest] = n
			delete(f.nodes, name)
		}
	}
	f.nodes[to] = f.nodes[from]
	delete(f.nodes, from)
	maps.Copy(f.nodes, moved)
	return nil
}

// Stat describes a file.
func (f *Files) Stat(name string) (fs.FileInfo, error) {
	f = f.of(name)
	n, err := f.find("stat", name)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	info := info{name: path.Base(path.Clean(name)), mode: n.mode, time: n.time, size: int64(len(n.data))}
	if n.device != nil {
		info.size = max(0, n.device.Size())
	}
	return info, nil
}

// ReadDir lists a folder, sorted.
func (f *Files) ReadDir(name string) ([]fs.DirEntry, error) {
	f = f.of(name)
	n, err := f.find("open", name)
	if err != nil {
		return nil, err
	}
	if !n.mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fmt.Errorf("not a directory")}
	}
	f.mu.Lock()
	var names []string
	for other := range f.nodes {
		if other != "/" && path.Dir(other) == path.Clean(name) {
			names = append(names, other)
		}
	}
	f.mu.Unlock()
	slices.Sort(names)
	var entries []fs.DirEntry
	for _, other := range names {
		if info, err := f.Stat(other); err == nil {
			entries = append(entries, fs.FileInfoToDirEntry(info))
		}
	}
	return entries, nil
}

// info is an [fs.FileInfo].
type info struct {
	name string
	mode fs.FileMode
	time time.Time
	size int64
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.time }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

// null is /dev/null.
type null struct{}

func (null) ReadAt([]byte, int64) (int, error)        { return 0, nil }
func (null) WriteAt(p []byte, _ int64) (int, error)   { return len(p), nil }
func (null) Size() int64                              { return 0 }
func (zeros) ReadAt(p []byte, _ int64) (int, error)   { clear(p); return len(p), nil }
func (zeros) WriteAt(p []byte, _ int64) (int, error)  { return len(p), nil }
func (zeros) Size() int64                             { return -1 }
func (random) ReadAt(p []byte, _ int64) (int, error)  { return rand.Read(p) }
func (random) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (random) Size() int64                            { return -1 }

// zeros is /dev/zero.
type zeros struct{}

// random is /dev/urandom.
type random struct{}

// textFile is a file whose content is made when it is read.
type textFile func() string

func (t textFile) ReadAt(p []byte, offset int64) (int, error) {
	text := t()
	return copy(p, text[min(offset, int64(len(text))):]), nil
}

func (t textFile) WriteAt([]byte, int64) (int, error) { return 0, fs.ErrPermission }
func (t textFile) Size() int64                        { return int64(len(t())) }
