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
	// AddressFamily is inet for IPv4 only, inet6 for IPv6 only. Empty: any.
	AddressFamily string
	// BindAddress is the local address to connect from, BindInterface the network
	// interface that has it. Empty: the system chooses.
	BindAddress, BindInterface string
	// ConnectionAttempts is how often to try, a second apart. Zero: once.
	ConnectionAttempts int
	// User is the login name. It must be set.
	User string

	// Password is tried after the keys. Empty: no password.
	Password Secret
	// IdentityFiles are private key files, or public ones whose private keys the
	// agent holds; files that do not exist are skipped.
	IdentityFiles []string
	// CertificateFiles are certificates of keys. Empty: those next to the key
	// files.
	CertificateFiles []string
	// IdentitiesOnly keeps keys that only the agent knows from being offered.
	IdentitiesOnly bool
	// AgentSocket is the unix socket of the SSH agent. Empty: no agent.
	AgentSocket string
	// Authentications are the authentication methods, in order, by their names in
	// the protocol. Empty: publickey, keyboard-interactive, password.
	Authentications []string
	// KeyAlgorithms are the signature algorithms of keys that may be offered, by
	// OpenSSH's names. Empty: all that are considered safe.
	KeyAlgorithms []string
	// MinRSABits is the minimum length of RSA keys, ours and the host's. Zero: any.
	MinRSABits int

	// KnownHostsFiles hold the accepted host keys; new ones go to the first.
	KnownHostsFiles []string
	// GlobalKnownHostsFiles hold more of them, and are not written to.
	GlobalKnownHostsFiles []string
	// HashKnownHosts writes new host names as hashes.
	HashKnownHosts bool
	// HostKeyAlias is looked up in the known_hosts files instead of Address.
	HostKeyAlias string
	// HostKeys says what to do with a host key that is not known. Zero: refuse.
	HostKeys HostKeyPolicy
	// CheckHostIP looks up the host's IP address, too.
	CheckHostIP bool
	// TrustLocalhost accepts any host key of a loopback address.
	TrustLocalhost bool
	// RevokedHostKeys is a file of public keys that no host may have. Empty: none.
	RevokedHostKeys string
	// HostKeyAlgorithms are the kinds of host keys to accept, in order of
	// preference. Empty: all that are considered safe, known ones first.
	HostKeyAlgorithms []string
	// CAAlgorithms are the signature algorithms of host certificates. Empty: all
	// that are considered safe.
	CAAlgorithms []string

	// Ciphers, MACs and KeyExchanges are the algorithms to negotiate. Empty: all
	// that are considered safe.
	Ciphers, MACs, KeyExchanges []string

	// ProxyJump are the hosts to go through, the first one first.
	ProxyJump []Config

	// ConnectTimeout limits connecting and logging in. Zero: 10 s.
	ConnectTimeout time.Duration
	// NoTCPKeepAlive switches the kernel's TCP keepalives off.
	NoTCPKeepAlive bool
	// KeepaliveInterval times KeepaliveCount is after how much silence the
	// connection is lost. Zero: 2 s.
	KeepaliveInterval time.Duration
	// KeepaliveCount is how many keepalive messages are sent in that time. Zero: 5.
	KeepaliveCount int
	// MaxSessions is how many sessions sshd allows on a connection. Zero: 10,
	// which is OpenSSH's default. A lower limit of the server is detected.
	MaxSessions int

	// Env is set for each command.
	Env map[string]string

	// Notices are warnings of [Resolve] about the configuration files. Dial logs them.
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
	// AnyHostKey also accepts a key that has changed or is revoked in a known_hosts
	// file: it logs a warning, and offers such a host no password. It does not
	// protect from impersonation.
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
