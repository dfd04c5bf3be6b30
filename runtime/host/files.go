// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"al.essio.dev/pkg/shellescape"
	"github.com/google/renameio/v2"
	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// Paths on the host are absolute or below the user's home; ~ is not special.

// Special files, such as pipes and devices, and files of size 0, as in /proc and
// /sys, are read and written by a command: they may block for ever, and would then
// block all later requests of the SFTP client. A command can be killed.

// errSpecial means that a file must be accessed by a command.
var errSpecial = errors.New("is not a regular file")

// TooLargeError is a file that is too large to be read into memory.
type TooLargeError struct{ Limit int }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("it is larger than %d MiB; download it, or extract what is needed with a command on the host", e.Limit>>20)
}

// ReadFile returns the content of a file on the host. One of more than
// [MaxOutput] is a [*TooLargeError].
func (h *Host) ReadFile(ctx context.Context, name string) ([]byte, error) {
	data, err := transfer(ctx, h, "read", name, func(c *sftp.Client) ([]byte, error) {
		f, info, err := openRegular(c, name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if info.Size() > MaxOutput {
			return nil, &TooLargeError{MaxOutput}
		}
		data, err := io.ReadAll(io.LimitReader(contextReader{ctx, f}, MaxOutput+1))
		if len(data) > MaxOutput {
			return nil, &TooLargeError{MaxOutput}
		}
		return data, err
	})
	if !errors.Is(err, errSpecial) {
		return data, err
	}
	out, err := h.Run(ctx, Command{Args: []string{"cat", "--", name}})
	if _, full := errors.AsType[*OutputError](err); full {
		err = &TooLargeError{MaxOutput}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: read %s: %w", h.Name(), name, err)
	}
	return out.Stdout, nil
}

// openRegular opens a file to read, if that cannot block; else the error matches
// errSpecial.
func openRegular(c *sftp.Client, name string) (*sftp.File, fs.FileInfo, error) {
	info, err := c.Stat(name)
	switch {
	case err != nil:
		return nil, nil, err
	case info.IsDir():
		return nil, nil, errors.New("is a folder")
	case !info.Mode().IsRegular() || info.Size() == 0:
		return nil, nil, errSpecial
	}
	f, err := c.Open(name)
	return f, info, err
}

// WriteFile writes data to a file on the host with the permission bits perm,
// whether it is there already or not.
func (h *Host) WriteFile(ctx context.Context, name string, data []byte, perm fs.FileMode) error {
	_, err := transfer(ctx, h, "write", name, func(c *sftp.Client) (struct{}, error) {
		return struct{}{}, h.store(c, name, perm, func(f *sftp.File) error {
			_, err := f.Write(data)
			return err
		})
	})
	if errors.Is(err, errSpecial) {
		return h.writeSpecial(ctx, name, bytes.NewReader(data))
	}
	return err
}

// writeSpecial writes to a special file.
func (h *Host) writeSpecial(ctx context.Context, name string, data io.Reader) error {
	if _, err := h.Run(ctx, Command{Script: "cat >" + shellescape.Quote(name), Stdin: data}); err != nil {
		return fmt.Errorf("%s: write %s: %w", h.Name(), name, err)
	}
	return nil
}

// Upload copies a local regular file to the host, with its permission bits. A
// remote name that ends in a slash is a folder that the file goes into.
func (h *Host) Upload(ctx context.Context, local, remote string) error {
	if remote != "" && remote[len(remote)-1] == '/' {
		remote = path.Join(remote, filepath.Base(local))
	}
	info, err := os.Stat(local) // opening a pipe would block
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s %w", local, errSpecial)
	}
	var from *os.File
	if err == nil {
		from, err = os.Open(local)
	}
	if err != nil {
		return fmt.Errorf("%s: upload to %s: %w", h.Name(), remote, err)
	}
	defer from.Close()
	_, err = transfer(ctx, h, "upload to", remote, func(c *sftp.Client) (struct{}, error) {
		return struct{}{}, h.store(c, remote, info.Mode().Perm(), func(f *sftp.File) error {
			_, err := f.ReadFromWithConcurrency(contextReader{ctx, from}, 64)
			return err
		})
	})
	if errors.Is(err, errSpecial) {
		return h.writeSpecial(ctx, remote, from)
	}
	return err
}

// Download copies a file of the host to a local one, with its permission bits.
// When it fails, the local file is as it was.
func (h *Host) Download(ctx context.Context, remote, local string) error {
	if info, err := os.Stat(local); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s: download %s: %s %w", h.Name(), remote, local, errSpecial)
	}
	_, err := transfer(ctx, h, "download", remote, func(c *sftp.Client) (struct{}, error) {
		from, info, err := openRegular(c, remote)
		if err != nil {
			return struct{}{}, err
		}
		defer from.Close()
		return struct{}{}, ReplaceLocal(local, info.Mode().Perm(), func(to io.Writer) error {
			_, err := from.WriteTo(contextWriter{ctx, to})
			return err
		})
	})
	if !errors.Is(err, errSpecial) {
		return err
	}
	err = ReplaceLocal(local, 0o644, func(to io.Writer) error { return h.copySpecial(ctx, remote, to) })
	if err != nil {
		return fmt.Errorf("%s: download %s: %w", h.Name(), remote, err)
	}
	return nil
}

// CopyTo writes the content of a file on the host to w, whatever its size.
func (h *Host) CopyTo(ctx context.Context, name string, w io.Writer) error {
	_, err := transfer(ctx, h, "read", name, func(c *sftp.Client) (struct{}, error) {
		f, _, err := openRegular(c, name)
		if err != nil {
			return struct{}{}, err
		}
		defer f.Close()
		_, err = f.WriteTo(contextWriter{ctx, w})
		return struct{}{}, err
	})
	if !errors.Is(err, errSpecial) {
		return err
	}
	if err := h.copySpecial(ctx, name, w); err != nil {
		return fmt.Errorf("%s: read %s: %w", h.Name(), name, err)
	}
	return nil
}

// copySpecial copies a special file until its end.
func (h *Host) copySpecial(ctx context.Context, name string, to io.Writer) error {
	p, err := h.Start(ctx, Command{Args: []string{"cat", "--", name}})
	if err != nil {
		return err
	}
	_, copyErr := io.Copy(to, p.Stdout)
	if copyErr != nil {
		_ = p.Kill(ctx)
	}
	stderr, _ := io.ReadAll(io.LimitReader(p.Stderr, keptTail)) // it ends with the command
	out, err := p.Wait(context.WithoutCancel(ctx))              // it ends with ctx
	if _, exited := errors.AsType[*ExitError](err); exited {
		out.Stderr = stderr
		err = &ExitError{Host: h.Name(), Command: p.command, Output: out}
	}
	return errors.Join(copyErr, err)
}

// ReplaceLocal makes a file of the controller with what fill writes, or replaces its
// content. After an error it is as it was.
func ReplaceLocal(local string, perm fs.FileMode, fill func(io.Writer) error) error {
	if target, err := filepath.EvalSymlinks(local); err == nil {
		local = target
	}
	if info, err := os.Stat(local); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s %w", local, errSpecial)
	}
	to, err := renameio.NewPendingFile(local, renameio.WithTempDir(filepath.Dir(local)), renameio.WithPermissions(perm))
	if err != nil {
		return err
	}
	defer func() { _ = to.Cleanup() }()
	if err := fill(to); err != nil {
		return err
	}
	return to.CloseAtomicallyReplace()
}

// MkdirAll makes a folder on the host and those above it that are missing. Only
// the last one, if new, gets the permission bits perm.
func (h *Host) MkdirAll(ctx context.Context, name string, perm fs.FileMode) error {
	_, err := transfer(ctx, h, "make folder", name, func(c *sftp.Client) (struct{}, error) {
		err := c.Mkdir(name)
		if err == nil {
			err = c.Chmod(name, perm.Perm())
		}
		return struct{}{}, err
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	_, err = h.Run(ctx, Command{Args: []string{"mkdir", "-p", "-m", fmt.Sprintf("%04o", perm.Perm()), "--", name}})
	return err
}

// RemoveAll removes a file or folder on the host and all in it. One that is not
// there is no error.
func (h *Host) RemoveAll(ctx context.Context, name string) error {
	if clean := path.Clean(name); name == "" || clean == "/" || clean == "." || clean == ".." {
		return fmt.Errorf("%s: remove %q: refused", h.Name(), name)
	}
	// A file or an empty folder needs no process on the host.
	_, err := transfer(ctx, h, "remove", name, func(c *sftp.Client) (struct{}, error) { return struct{}{}, c.Remove(name) })
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return nil
	case ctx.Err() != nil:
		return err
	}
	_, err = h.Run(ctx, Command{Args: []string{"rm", "-rf", "--", name}})
	return err
}

// Stat describes a file on the host, links followed. The error of one that is
// not there matches [fs.ErrNotExist].
func (h *Host) Stat(ctx context.Context, name string) (fs.FileInfo, error) {
	return transfer(ctx, h, "stat", name, func(c *sftp.Client) (fs.FileInfo, error) { return c.Stat(name) })
}

// Exists reports whether there is a file or folder of that name on the host.
func (h *Host) Exists(ctx context.Context, name string) (bool, error) {
	_, err := h.Stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// store writes a file. It sets the permissions before the content. For an existing
// special file the error matches errSpecial.
func (h *Host) store(c *sftp.Client, name string, perm fs.FileMode, fill func(*sftp.File) error) error {
	if info, err := c.Stat(name); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return errSpecial
	}
	f, err := c.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	if err = f.Chmod(perm); err == nil {
		err = fill(f)
	}
	return errors.Join(err, f.Close())
}

// transfer runs do with the SFTP client. When ctx ends first, it returns at once;
// do then ends with the host's next answer.
func transfer[T any](ctx context.Context, h *Host, verb, name string, do func(*sftp.Client) (T, error)) (T, error) {
	var zero T
	client, k, err := h.fileClient(ctx)
	if err == nil {
		zero, err = await(ctx, k, func() (T, error) { return do(client) }, nil)
	}
	if err != nil {
		return zero, fmt.Errorf("%s: %s %s: %w", h.Name(), verb, name, err)
	}
	return zero, nil
}

// fileClient returns the SFTP client, which is started with the first transfer and
// keeps one session until the Host is closed.
func (h *Host) fileClient(ctx context.Context) (*sftp.Client, *connection, error) {
	select {
	case h.filesLock <- struct{}{}:
		defer func() { <-h.filesLock }()
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	if h.files != nil && h.filesConn.ended.Err() == nil {
		return h.files, h.filesConn, nil
	}
	k, session, err := h.session(ctx, ordinary)
	if err != nil {
		return nil, nil, err
	}
	client, err := await(ctx, k, func() (*sftp.Client, error) { return startFileClient(session) },
		func(c *sftp.Client) { c.Close() })
	if err != nil {
		session.Close()
		h.release(k)
		return nil, nil, err
	}
	h.files, h.filesConn = client, k
	return client, k, nil
}

func startFileClient(session *ssh.Session) (*sftp.Client, error) {
	stdin, err := session.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := session.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := session.RequestSubsystem("sftp"); err != nil {
		return nil, fmt.Errorf("%w; sshd_config there needs a line like: Subsystem sftp internal-sftp", err)
	}
	return sftp.NewClientPipe(stdout, stdin, sftp.UseConcurrentWrites(true))
}

// contextReader is a reader that fails when ctx has ended.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}

// contextWriter is a writer that fails when ctx has ended.
type contextWriter struct {
	ctx context.Context
	io.Writer
}

func (w contextWriter) Write(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.Writer.Write(p)
}
