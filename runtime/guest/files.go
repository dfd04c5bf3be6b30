// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"al.essio.dev/pkg/shellescape"
	"golang.org/x/crypto/ssh"
)

// Upload writes all of from to a file of the guest, with the permission bits perm, on a
// new channel of the session's SSH connection, and returns the SHA-256 of the content.
// The guest's file has its size then. On a serial session it returns
// errors.ErrUnsupported.
func (s *Session) Upload(ctx context.Context, from io.Reader, path string, perm fs.FileMode) (sum string, err error) {
	file := shellescape.Quote(path)
	command := fmt.Sprintf("cat >%s && chmod %o %s && wc -c <%s", file, perm.Perm(), file, file)
	hash := sha256.New()
	err = s.converse(ctx, command, func(stdin io.WriteCloser, stdout *bufio.Reader) error {
		sent, err := io.Copy(stdin, io.TeeReader(localReader{from}, hash))
		if err != nil {
			return err
		}
		if err := stdin.Close(); err != nil {
			return err
		}
		size, err := readSize(stdout)
		if err == nil && size != sent {
			err = fmt.Errorf("the guest's file has %d bytes, but %d were sent", size, sent)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("upload to %s: %w", path, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// Download writes a file of the guest to to, like Upload, and returns the SHA-256 of what
// it has written: as much as the file had at the beginning.
func (s *Session) Download(ctx context.Context, path string, to io.Writer) (sum string, err error) {
	file := shellescape.Quote(path)
	// It ends when all of its output has arrived: JeOS drops what a process leaves behind.
	command := fmt.Sprintf("wc -c <%s && cat <%s && cat >/dev/null", file, file)
	hash := sha256.New()
	err = s.converse(ctx, command, func(stdin io.WriteCloser, stdout *bufio.Reader) error {
		size, err := readSize(stdout)
		if err != nil {
			return err
		}
		if _, err := io.CopyN(io.MultiWriter(localWriter{to}, hash), stdout, size); err != nil {
			return fmt.Errorf("of %d bytes: %w", size, err)
		}
		return stdin.Close()
	})
	if err != nil {
		return "", fmt.Errorf("download %s: %w", path, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// shownSize is how many bytes of what is no size an error message shows.
const shownSize = 40

// readSize reads the output of wc -c. A guest that prints something else, without end
// maybe, fills no memory.
func readSize(stdout *bufio.Reader) (int64, error) {
	line, err := stdout.ReadSlice('\n') // at most the reader's buffer
	full := errors.Is(err, bufio.ErrBufferFull)
	if err != nil && !full {
		return 0, err
	}
	size, err := strconv.ParseUint(strings.TrimSpace(string(line)), 10, 63)
	if full || err != nil {
		return 0, fmt.Errorf("the guest's wc -c has printed no size, but a line that begins with %q", line[:min(len(line), shownSize)])
	}
	return int64(size), nil
}

// converse runs a command on a new channel of the session's SSH connection, and exchange
// with its input and output. If the command fails, the error is a *CmdError with what it
// has written to stderr. When ctx ends, so does the session.
func (s *Session) converse(ctx context.Context, command string, exchange func(stdin io.WriteCloser, stdout *bufio.Reader) error) error {
	w, ok := s.wire.(*sshWire)
	if !ok {
		return errors.ErrUnsupported
	}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return ErrClosed
	}
	ended := make(chan error, 1)
	w.waiting.Go(func() { ended <- w.converse(command, exchange) }) // at the latest with the connection
	w.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	err := <-ended
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (w *sshWire) converse(command string, exchange func(io.WriteCloser, *bufio.Reader) error) error {
	session, err := w.client.NewSession()
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	stdin, err := session.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := session.StdoutPipe()
	if err != nil {
		return err
	}
	stderr := &head{}
	session.Stderr = stderr
	if err := session.Start(command); err != nil {
		return err
	}
	talked := exchange(stdin, bufio.NewReader(stdout))
	_ = stdin.Close()
	_, _ = io.Copy(io.Discard, stdout) // of a file that has grown, or after an error
	err = session.Wait()
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		return &CmdError{Command: command, Status: exit.ExitStatus(), Output: string(stderr.kept)}
	}
	return errors.Join(talked, err)
}

// LocalError is the error of a file on this machine, for which no guest is to blame.
type LocalError struct{ Err error }

func (e *LocalError) Error() string { return e.Err.Error() }
func (e *LocalError) Unwrap() error { return e.Err }

type localReader struct{ io.Reader }

func (r localReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &LocalError{err}
	}
	return n, err
}

type localWriter struct{ io.Writer }

func (w localWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err != nil {
		err = &LocalError{err}
	}
	return n, err
}

// head is a writer that keeps the beginning of what is written.
type head struct{ kept []byte }

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), maxExecOutput-len(h.kept))]...)
	return len(p), nil
}
