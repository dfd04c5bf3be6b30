// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/vm"
)

// file migrates through a file: the source writes the guest to one on its host, mhmig
// copies that to the destination's host, and the destination loads it. Each QEMU that has
// file: URIs accesses its file itself (8.2 or later); any other one by exec:cat. With
// commands, it is mig_protocol = exec by a file.
type file struct {
	form

	offset   int64     // mig_file_offset: where the guest begins in the file
	mapped   bool      // mig_mapped_ram
	saved    SavedFile // by Sent, then
	commands fileCommands
	programs carriers
	made     madeFiles
}

func newFile(o options) Transport {
	return &file{form: o.form(), offset: o.fileOffset, mapped: o.mappedRAM}
}

func (*file) Traits() Traits { return Traits{LoadsAfterSource: true, File: true} }

func (*file) Launch(Role) vm.Launch { return vm.Launch{} }

// fileURIs is where QEMU's schema says that there are file: URIs.
const fileURIs = "migrate/channels/addr/transport/file"

// fileCommands are the commands by which the QEMUs write and read the guest's file, which
// is fileInCommand in them: virt-test's params migration_exec_cmd_src and _dst. Empty: none.
type fileCommands struct{ write, read string }

// fileInCommand stands for the guest's file in a command, as in virt-test.
const fileInCommand = "%s"

// The params that have them.
const (
	commandToWrite = "migration_exec_cmd_src"
	commandToRead  = "migration_exec_cmd_dst"
)

func parseFileCommands(v api.Values) fileCommands {
	c := fileCommands{v.Text(commandToWrite), v.Text(commandToRead)}
	for _, p := range []struct{ name, command, other, otherCommand string }{
		{commandToWrite, c.write, commandToRead, c.read}, {commandToRead, c.read, commandToWrite, c.write},
	} {
		switch {
		case p.command == "" && p.otherCommand != "":
			v.Invalid(p.name, "a command, as "+p.other+" has one: what one end writes, the other has to read")
		case p.command != "" && !strings.Contains(p.command, fileInCommand):
			v.Invalid(p.name, "a command with "+fileInCommand+" for the guest's file")
		}
	}
	return c
}

// address returns where the QEMU of an end writes or reads the guest: a file, or a command.
func (t *file) address(ctx context.Context, end Role, peer Peer, path string) (address, error) {
	command := "cat >" + shellescape.Quote(path)
	if end == DestinationRole {
		command = "cat " + shellescape.Quote(path)
	}
	if t.commands.write != "" {
		if shellescape.Quote(path) != path { // it may be within quotes in the command
			return address{}, fmt.Errorf("%s: %q cannot be in the commands migration_exec_cmd_src and _dst: use a state_dir without blanks and other characters of shells", peer, path)
		}
		command = t.commands.write
		if end == DestinationRole {
			command = t.commands.read
		}
		return t.programs.address(end, peer, strings.ReplaceAll(command, fileInCommand, path))
	}
	byQEMU, err := peer.Supports(ctx, fileURIs)
	switch {
	case err != nil:
		return address{}, err
	case byQEMU:
		return fileAddress(path, t.offset), nil
	case t.offset > 0:
		return address{}, result.Skip.Errorf("%s: this QEMU has no file: URIs, which mig_file_offset needs: QEMU 8.2 or later has them", peer)
	default:
		return t.programs.address(end, peer, command)
	}
}

func (t *file) Send(ctx context.Context, source, _ Peer) error {
	f, err := t.made.record(SourceRole, source.Machine(), source.Spec().State)
	if err != nil {
		return err
	}
	where, err := t.address(ctx, SourceRole, source, f.path)
	if err != nil {
		return err
	}
	return t.migrate(ctx, source, where)
}

// Sent waits until the file is complete: a source that writes by a command has completed
// when the command has read everything, whatever it did with that. It also checks that
// the guest begins at mig_file_offset.
func (t *file) Sent(ctx context.Context, _ Peer) error {
	if t.programs.at(SourceRole) != nil {
		if err := t.programs.wait(ctx, SourceRole); err != nil {
			return err
		}
	} else if err := t.checkOffset(ctx); err != nil {
		return err
	}
	if !t.mapped {
		return nil
	}
	var err error
	t.saved, err = t.look(ctx)
	return err
}

// savedFile is what the source has written, once Sent has returned.
func (t *file) savedFile() SavedFile { return t.saved }

// look says what is in the file of a source that has completed. QEMU writes the names of
// some capabilities, mapped-ram among them, behind the machine type, where it begins.
func (t *file) look(ctx context.Context) (s SavedFile, err error) {
	const script = `wc -c <%[1]s && { head -c %[2]d %[1]s | tr '\0' '\n' | LC_ALL=C grep -c -F mapped-ram || [ $? = 1 ]; }`
	const beginning = 4096
	f := t.made.at(SourceRole)
	out, err := f.machine.Run(ctx, host.Command{Script: fmt.Sprintf(script, shellescape.Quote(f.path), t.offset+beginning), Timeout: programTimeout})
	if err != nil {
		return s, err
	}
	var lines int
	if _, err := fmt.Sscan(string(out.Stdout), &s.Bytes, &lines); err != nil {
		return s, fmt.Errorf("%s: the size of %s, and whether it is one of mapped-ram: got %q: %w", f.machine.Name(), f.path, out.Stdout, err)
	}
	s.Bytes -= t.offset
	s.Mapped = lines > 0
	return s, nil
}

// checkOffset checks that the guest begins at mig_file_offset.
func (t *file) checkOffset(ctx context.Context) error {
	if t.offset == 0 {
		return nil
	}
	const magic = "51 45 56 4d" // QEVM
	f := t.made.at(SourceRole)
	out, err := f.machine.Run(ctx, host.Command{Args: []string{"od", "-An", "-tx1", "-N4", "-j", strconv.FormatInt(t.offset, 10), f.path}, Timeout: programTimeout})
	if err != nil {
		return err
	}
	if found := strings.TrimSpace(string(out.Stdout)); found != magic {
		return fmt.Errorf("QEMU has completed, but no guest begins at mig_file_offset = %d of %s: there is %q, want %q", t.offset, f.path, found, magic)
	}
	return nil
}

// Listen brings the file to the destination's host, and makes QEMU load it.
func (t *file) Listen(ctx context.Context, destination Peer) error {
	from := t.made.at(SourceRole)
	if from == nil {
		return errors.New("the source has ended, and removed the guest's file")
	}
	path := from.path
	if from.machine.Name() != destination.HostName() {
		to, err := t.made.record(DestinationRole, destination.Machine(), destination.Spec().State)
		if err != nil {
			return err
		}
		size, err := copyFile(ctx, from, to)
		if err != nil {
			return fmt.Errorf("copy the guest's file from %s to %s: %w", from.machine.Name(), to.machine.Name(), err)
		}
		destination.Log().Info("the guest's file is copied", "from", from.machine.Name(), "bytes", size)
		path = to.path
	}
	where, err := t.address(ctx, DestinationRole, destination, path)
	if err != nil {
		return err
	}
	return t.incoming(ctx, destination, where)
}

// errNotRead is why a file is not written to its end when reading it has failed.
var errNotRead = errors.New("it cannot be read")

// copyFile copies a file from one host to another, and compares what was read with what
// has been written. The file passes through this process, which keeps none of it. The
// error is that of the host that failed first.
func copyFile(ctx context.Context, from, to *madeFile) (size int64, err error) {
	read, written := io.Pipe()
	sum := sha256.New()
	count := &counter{}
	reading := make(chan error, 1)
	go func() {
		err := from.machine.CopyTo(ctx, from.path, io.MultiWriter(sum, count, written))
		cause := err
		if err != nil {
			cause = fmt.Errorf("%w: %w", errNotRead, err)
		}
		_ = written.CloseWithError(cause) // always nil
		reading <- err
	}()
	_, err = to.machine.Run(ctx, host.Command{Script: "cat >" + shellescape.Quote(to.path), Stdin: read})
	_ = read.Close() // always nil; ends the reading
	readErr := <-reading
	switch {
	case readErr != nil && !errors.Is(readErr, io.ErrClosedPipe):
		return 0, readErr
	case err != nil:
		return 0, fmt.Errorf("write %s: %w", to.path, err)
	case readErr != nil:
		return 0, fmt.Errorf("%s: write %s: it has ended after %d bytes", to.machine.Name(), to.path, count.bytes)
	}
	out, err := to.machine.Run(ctx, host.Command{Args: []string{"sha256sum", "--", to.path}})
	if err != nil {
		return 0, err
	}
	want := hex.EncodeToString(sum.Sum(nil))
	if got, _, _ := strings.Cut(strings.TrimPrefix(string(out.Stdout), `\`), " "); got != want {
		return 0, fmt.Errorf("%s: %s differs from what was read on %s (%d bytes): SHA-256 %s, want %s", to.machine.Name(), to.path, from.machine.Name(), count.bytes, got, want)
	}
	return count.bytes, nil
}

// counter counts what is written to it.
type counter struct{ bytes int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.bytes += int64(len(p))
	return len(p), nil
}

func (t *file) Interrupt(ctx context.Context, _ Peer) error { return t.programs.end(ctx, SourceRole) }

func (t *file) Explain(ctx context.Context) ProgramFailure { return t.programs.explain(ctx) }

// Close removes the end's file.
func (t *file) Close(ctx context.Context, end Role) error {
	return errors.Join(t.programs.closeEnd(ctx, end), t.made.remove(ctx, end))
}
