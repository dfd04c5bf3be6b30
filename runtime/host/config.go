// SPDX-License-Identifier: Apache-2.0

package host

import (
	"net"
	"strconv"
	"time"
)

// Config says how to reach a host. [Resolve] makes one from the user's SSH
// configuration and params; the zero value of most fields means the default
// named with it. A Config is not changed after [Dial].
type Config struct {
	// Name is what the user calls the host, for messages.
	Name string
	// Address is the DNS name or IP address to connect to, without a port.
	Address string
	// Port is the TCP port of sshd. Zero: 22.
	Port int
	// User is the login name. It must be set.
	User string

	// Password is tried after the keys. Empty: no password.
	Password Secret
	// IdentityFiles are private key files, tried in this order; files that do
	// not exist are passed over.
	IdentityFiles []string
	// IdentitiesOnly keeps keys that only the agent knows from being offered.
	IdentitiesOnly bool
	// AgentSocket is the unix socket of the SSH agent. Empty: no agent.
	AgentSocket string

	// KnownHostsFiles hold the accepted host keys; new ones go to the first.
	KnownHostsFiles []string
	// HostKeyAlias is looked up in the known_hosts files instead of Address.
	HostKeyAlias string
	// HostKeys says what to do with a host key that is not known. Zero: refuse.
	HostKeys HostKeyPolicy

	// ProxyJump are the hosts to go through, the first one first.
	ProxyJump []Config

	// ConnectTimeout limits connecting and logging in. Zero: 10 s.
	ConnectTimeout time.Duration
	// KeepaliveInterval times KeepaliveCount is how long a silent host is waited
	// for. Zero: 2 s.
	KeepaliveInterval time.Duration
	// KeepaliveCount is how many questions for a sign of life are asked meanwhile.
	// Zero: 5.
	KeepaliveCount int
	// MaxSessions is how many sessions sshd allows on a connection. Zero: 10,
	// which is OpenSSH's default. A server that allows fewer is found out.
	MaxSessions int

	// Env is set for each command.
	Env map[string]string

	// Notices are remarks of [Resolve] on the configuration files. Dial logs them.
	Notices []string
}

// HostKeyPolicy says what to do with host keys.
type HostKeyPolicy int

const (
	// StrictHostKeys accepts keys of the known_hosts files only.
	StrictHostKeys HostKeyPolicy = iota
	// AcceptNewHostKeys also accepts the key of a host that has none yet, and
	// writes it into the first known_hosts file.
	AcceptNewHostKeys
	// AnyHostKey accepts any key, changed ones too. It protects from nothing.
	AnyHostKey
)

// maxConnections is how many connections a Host opens for its commands.
const maxConnections = 10

func (c Config) withDefaults() Config {
	if c.Port == 0 {
		c.Port = 22
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 10 * time.Second
	}
	if c.KeepaliveInterval == 0 {
		c.KeepaliveInterval = 2 * time.Second
	}
	if c.KeepaliveCount == 0 {
		c.KeepaliveCount = 5
	}
	if c.MaxSessions == 0 {
		c.MaxSessions = 10
	}
	return c
}

// endpoint returns the address and port to connect to.
func (c Config) endpoint() string {
	return net.JoinHostPort(c.Address, strconv.Itoa(c.Port))
}

// keyName returns the name under which known_hosts files list the host.
func (c Config) keyName() string {
	if c.HostKeyAlias != "" {
		return net.JoinHostPort(c.HostKeyAlias, "22") // OpenSSH lists an alias without a port
	}
	return c.endpoint()
}
