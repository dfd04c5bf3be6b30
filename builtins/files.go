// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/vm"
)

// newFile is the permission bits of a file whose content is given.
const newFile fs.FileMode = 0o644

// content is what is uploaded: a local file, or bytes.
type content struct {
	path string // "": data
	data []byte
}

// uploaded unpacks to content.
var uploaded = Type{Want: "path of a local file, or bytes", Name: "string | bytes", Unpack: func(t *task.Task, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.Bytes:
		return content{data: []byte(v)}, nil
	case starlark.String:
		if v == "" {
			return nil, errors.New("got an empty path")
		}
		if _, shipped := vm.ShippedFile(string(v)); shipped {
			file, err := stateOf(t).bed.ShippedFile(string(v))
			return content{path: file}, err
		}
		return content{path: string(v)}, nil
	}
	return nil, nil
}}

var (
	uploadedParam  = Param{"local", uploaded, Required, "a file on the controller, where mhmig runs; jeos:kernel, jeos:bzimage or jeos:initrd for mhmig's own; or the content itself as bytes, such as those of env.file"}
	guestFileParam = Param{"path", String, Required, "a regular file in the guest"}
)

// open opens what is uploaded, and returns its permission bits. Opening a pipe would block.
func (c content) open() (io.ReadCloser, fs.FileMode, error) {
	if c.path == "" {
		return io.NopCloser(bytes.NewReader(c.data)), newFile, nil
	}
	info, err := os.Stat(c.path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file", c.path)
	}
	file, err := os.Open(c.path)
	return file, info.Mode().Perm(), err
}

// sha256Return is the result of a copy to or from a guest.
var sha256Return = Return{"string", "the SHA-256 of the content, in hexadecimal"}

// uploadMethod is vm.upload.
var uploadMethod = &Builtin{
	Name: "upload", Waits: true,
	Params:  []Param{uploadedParam, guestFileParam, copyTimeoutParam},
	Doc:     "Copies a file to the guest, with its permission bits, over a new SSH login. The guest's file has its size then.",
	Returns: sha256Return,
	Fn:      vmUpload,
}

// downloadMethod is vm.download.
var downloadMethod = &Builtin{
	Name: "download", Waits: true,
	Params: []Param{
		guestFileParam,
		{"local", String, Computed("nowhere: only the SHA-256 is taken"), "a file on the controller, where mhmig runs"},
		copyTimeoutParam,
	},
	Doc:     "Copies a file from the guest, over a new SSH login: as much as it has when the copy begins.",
	Returns: sha256Return,
	Fn:      vmDownload,
}

func vmUpload(t *task.Task, a *Args) (starlark.Value, error) {
	inst, err := selfInstance(t, a)
	if err != nil {
		return nil, err
	}
	bed, timeout := stateOf(t).bed, arg[time.Duration](a, "timeout")
	from, path := arg[content](a, "local"), arg[string](a, "path")
	sum, err := task.Wait(t, func(ctx context.Context) (string, error) {
		file, perm, err := from.open()
		if err != nil {
			return "", err
		}
		defer func() { _ = file.Close() }()
		return useGuest(ctx, bed, inst, func() (string, error) { return inst.Upload(ctx, timeout, file, path, perm) })
	})
	return starlark.String(sum), err
}

func vmDownload(t *task.Task, a *Args) (starlark.Value, error) {
	inst, err := selfInstance(t, a)
	if err != nil {
		return nil, err
	}
	bed, timeout := stateOf(t).bed, arg[time.Duration](a, "timeout")
	path := arg[string](a, "path")
	sum, err := task.Wait(t, func(ctx context.Context) (sum string, err error) {
		copyTo := func(to io.Writer) error {
			sum, err = useGuest(ctx, bed, inst, func() (string, error) { return inst.Download(ctx, timeout, path, to) })
			return err
		}
		if !a.Has("local") {
			err = copyTo(io.Discard)
		} else {
			err = host.ReplaceLocal(arg[string](a, "local"), newFile, copyTo)
		}
		return sum, err
	})
	return starlark.String(sum), err
}
