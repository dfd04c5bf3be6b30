// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/mhmig/mhmig/runtime/excerpt"
	"github.com/mhmig/mhmig/runtime/exit"
)

// ErrClosed is why operations end on a Host that was closed.
var ErrClosed = errors.New("the host's connection was closed")

// UnreachableError means that a connection to a host's sshd failed: its name is
// unknown, nothing listens, or it does not answer in time.
type UnreachableError struct {
	Host, Endpoint string
	Hint           string // what to do, if known
	Err            error
}

func newUnreachable(c Config, err error) *UnreachableError {
	u := &UnreachableError{Host: c.Name, Endpoint: c.endpoint(), Err: err}
	var dns *net.DNSError
	var timeout net.Error
	var refused *ssh.OpenChannelError // by a jump host
	switch {
	case errors.As(err, &refused):
		u.Err = fmt.Errorf("the jump host reports: %s: %w", refused.Message, err)
		u.Hint = "can the jump host reach it, is sshd running there, and may the jump host forward TCP?"
	case errors.As(err, &dns) && dns.IsNotFound:
		u.Err = fmt.Errorf("no such host name %q: %w", c.Address, err)
		u.Hint = "check its spelling, DNS and /etc/hosts, or set HostName in ~/.ssh/config or the param ssh_address"
	case errors.Is(err, syscall.ECONNREFUSED):
		u.Hint = "nothing listens there: is sshd running, and is this its port (ssh_port)?"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		u.Hint = "is the host up, and is there a route to it?"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		u.Hint = "is the host up, and does a firewall let SSH through?"
	}
	return u
}

func (e *UnreachableError) Error() string {
	return withHint(fmt.Sprintf("%s: connect to %s: %v", e.Host, e.Endpoint, e.Err), e.Hint)
}

// Fix says what to do, as at the end of the message; it may be empty.
func (e *UnreachableError) Fix() string { return e.Hint }

// ExitCode is that of hosts that cannot be used.
func (e *UnreachableError) ExitCode() exit.Code { return exit.Hosts }

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// AuthError means that a host accepted none of our keys and passwords.
type AuthError struct {
	Host, User, Endpoint string
	Tried                []string // each key and password that was offered
	Skipped              []string // keys that could not be offered, and why
	Allowed              []string // the methods that the server accepts
	Err                  error
}

func (e *AuthError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: sshd at %s refused %s", e.Host, e.Endpoint, e.User)
	if len(e.Tried) > 0 {
		fmt.Fprintf(&b, "; tried %s", strings.Join(e.Tried, ", "))
	} else {
		b.WriteString("; there was no key or password to try")
	}
	if len(e.Skipped) > 0 {
		fmt.Fprintf(&b, "; not tried: %s", strings.Join(e.Skipped, ", "))
	}
	if len(e.Allowed) > 0 {
		fmt.Fprintf(&b, "; it accepts %s", strings.Join(e.Allowed, ", "))
	}
	return withHint(b.String(), e.Fix())
}

// Fix says what to do, as at the end of the message.
func (e *AuthError) Fix() string {
	hint := fmt.Sprintf("try ssh-copy-id %s, or set ssh_user, ssh_key or ssh_password", e.target())
	if len(e.Tried) > 5 {
		hint = "sshd allows few attempts (MaxAuthTries): name the right key by ssh_key, or set IdentitiesOnly in ~/.ssh/config; " + hint
	}
	return hint
}

// ExitCode is that of hosts that cannot be used.
func (e *AuthError) ExitCode() exit.Code { return exit.Hosts }

// Unwrap returns the SSH library's error.
func (e *AuthError) Unwrap() error { return e.Err }

func (e *AuthError) target() string {
	address, port, _ := net.SplitHostPort(e.Endpoint)
	if port == "22" {
		return e.User + "@" + address
	}
	return "-p " + port + " " + e.User + "@" + address
}

// HostKeyError means that the known_hosts files do not have a host's key: it is
// unknown, or, when Known is not empty, it has changed.
type HostKeyError struct {
	Host, Endpoint string
	KeyName        string     // the name that was looked up, as known_hosts files write it
	Offered        string     // type and fingerprint of the host's key
	Known          []KnownKey // the keys that the host should have
	Revoked        *KnownKey  // set when the key is marked @revoked
	Files          []string   // the known_hosts files that were read
}

// KnownKey is a key in a known_hosts file.
type KnownKey struct {
	Fingerprint string // with the key's type
	File        string
	Line        int
}

// Changed reports whether the host is known with another key.
func (e *HostKeyError) Changed() bool { return len(e.Known) > 0 }

func (e *HostKeyError) Error() string {
	switch {
	case e.Revoked != nil:
		return fmt.Sprintf("%s: the host key of %s, %s, is revoked by %s:%d", e.Host, e.Endpoint, e.Offered, e.Revoked.File, e.Revoked.Line)
	case e.Changed():
		known := make([]string, len(e.Known))
		for i, k := range e.Known {
			known[i] = fmt.Sprintf("%s at %s:%d", k.Fingerprint, k.File, k.Line)
		}
		return withHint(
			fmt.Sprintf("%s: the host key of %s has changed: it is %s, expected %s; this may be a man-in-the-middle attack, or the host was reinstalled",
				e.Host, e.Endpoint, e.Offered, strings.Join(known, ", ")), e.Fix())
	}
	return withHint(
		fmt.Sprintf("%s: the host key of %s, %s, is not known: no line for %s in %s", e.Host, e.Endpoint, e.Offered, e.KeyName, orNone(e.Files)), e.Fix())
}

// Fix says what to do, as at the end of the message; it is empty for a revoked key.
func (e *HostKeyError) Fix() string {
	switch {
	case e.Revoked != nil:
		return ""
	case e.Changed():
		return fmt.Sprintf("if you are sure of the new key: ssh-keygen -R '%s' -f %s", e.KeyName, e.Known[0].File)
	}
	file := "~/.ssh/known_hosts"
	if len(e.Files) > 0 {
		file = e.Files[0]
	}
	address, port, _ := net.SplitHostPort(e.Endpoint)
	return fmt.Sprintf("log in once by ssh, or, if the fingerprint is right: ssh-keyscan -p %s %s >> %s", port, address, file)
}

// ExitCode is that of hosts that cannot be used.
func (e *HostKeyError) ExitCode() exit.Code { return exit.Hosts }

// LostError means that an established connection to a host was lost.
type LostError struct {
	Host   string
	Silent time.Duration // time since data last arrived
	Err    error         // why
}

func (e *LostError) Error() string {
	return fmt.Sprintf("%s: lost the SSH connection: %v (last data received %.1f s ago)", e.Host, e.Err, e.Silent.Seconds())
}

// ExitCode is that of hosts that cannot be used.
func (e *LostError) ExitCode() exit.Code { return exit.Hosts }

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.Err }

// ExitError means that a remote command ended with a non-zero status. The status
// of a command that a signal ended is 128 plus the signal's number.
type ExitError struct {
	Host    string
	Command string // as typed in a shell
	Output  Output
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s: %s: exit status %d%s", e.Host, e.Command, e.Output.Status, lastOutput(e.Output))
}

// KilledError means that mhmig killed a remote command and its process group,
// because of a timeout, because its context ended or the Host was closed.
type KilledError struct {
	Host    string
	Command string
	Output  Output // until then
	Cause   error  // why
	KillErr error  // why it may still run; nil: it is gone
}

func (e *KilledError) Error() string {
	state := "killed"
	if e.KillErr != nil {
		state = fmt.Sprintf("not killed (%v)", e.KillErr)
	}
	output := lastOutput(e.Output)
	if _, full := e.Cause.(*OutputError); full {
		output = "" // the end of so much output is no help
	}
	return fmt.Sprintf("%s: %s: %s after %.1f s: %v%s", e.Host, e.Command, state, e.Output.Duration.Seconds(), e.Cause, output)
}

// Unwrap returns the reasons.
func (e *KilledError) Unwrap() []error {
	if e.KillErr != nil {
		return []error{e.Cause, e.KillErr}
	}
	return []error{e.Cause}
}

// TimeoutError is the cause when a command's own [Command.Timeout] has passed.
type TimeoutError struct{ Limit time.Duration }

func (e *TimeoutError) Error() string { return fmt.Sprintf("its time limit of %v has passed", e.Limit) }

// Is reports that a TimeoutError is a deadline that was exceeded.
func (e *TimeoutError) Is(target error) bool {
	return target == context.DeadlineExceeded || target == os.ErrDeadlineExceeded
}

// Timeout reports true, as net.Error and os.IsTimeout want it.
func (e *TimeoutError) Timeout() bool { return true }

// ForwardError means that port forwarding through a host failed. For a socket that
// does not exist yet, or that nothing listens on, Refused is true: a retry may
// help. (OpenSSH reports the same for a unix socket when its configuration forbids
// the forwarding.)
type ForwardError struct {
	Host, Network, Address string
	Listen                 bool // to listen; otherwise to connect
	Refused                bool
	Err                    error

	denied   bool // sshd's configuration forbids it
	timedOut bool // no answer before the timeout
}

func (e *ForwardError) Error() string {
	verb, hint := "connect to", ""
	if e.Listen {
		verb = "listen on"
	}
	switch {
	case e.denied:
		hint = "sshd there does not allow it: see AllowTcpForwarding, AllowStreamLocalForwarding, PermitOpen, PermitListen"
	case e.timedOut && !e.Listen:
		hint = "the process that listens there may hang"
	case e.Refused && e.Network == "unix":
		hint = "does a process listen there, and does it accept connections? sshd reports the same if AllowStreamLocalForwarding is no"
	case e.Refused:
		hint = "does a process listen there?"
	}
	return withHint(fmt.Sprintf("%s: %s %s %s: %v", e.Host, verb, e.Network, e.Address, e.Err), hint)
}

// Unwrap returns the cause.
func (e *ForwardError) Unwrap() error { return e.Err }

func withHint(message, hint string) string {
	if hint == "" {
		return message
	}
	return message + "; " + hint
}

func orNone(files []string) string {
	if len(files) == 0 {
		return "any known_hosts file (there is none)"
	}
	return strings.Join(files, ", ")
}

// lastOutput returns the end of a command's output, for an error message.
func lastOutput(o Output) string {
	text := strings.TrimSpace(string(o.Stderr))
	if text == "" {
		text = strings.TrimSpace(string(o.Stdout))
	}
	if text == "" {
		return ""
	}
	return ": " + excerpt.Tail(text, 400)
}
