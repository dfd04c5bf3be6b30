// SPDX-License-Identifier: Apache-2.0

package host

import (
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"al.essio.dev/pkg/shellescape"
)

// SSH is the ssh command line that reaches the host.
func (c Config) SSH() []string {
	args := []string{"ssh"}
	if c.Port != 0 && c.Port != 22 {
		args = append(args, "-p", strconv.Itoa(c.Port))
	}
	for _, file := range c.IdentityFiles {
		if _, err := os.Stat(file); err == nil {
			args = append(args, "-i", file)
		}
	}
	option := func(name, value string) {
		if value != "" {
			args = append(args, "-o", name+"="+value)
		}
	}
	if c.IdentitiesOnly {
		option("IdentitiesOnly", "yes")
	}
	for _, file := range c.CertificateFiles {
		option("CertificateFile", file)
	}
	option("UserKnownHostsFile", strings.Join(c.KnownHostsFiles, " "))
	if !slices.Equal(c.GlobalKnownHostsFiles, systemKnownHosts()) {
		option("GlobalKnownHostsFile", strings.Join(c.GlobalKnownHostsFiles, " "))
	}
	option("HostKeyAlias", c.HostKeyAlias)
	option("AddressFamily", c.AddressFamily)
	option("BindAddress", c.BindAddress)
	option("BindInterface", c.BindInterface)
	if n := len(c.ProxyJump); n > 0 {
		last := c.ProxyJump[n-1]
		last.ProxyJump = slices.Clone(c.ProxyJump[:n-1])
		args = append(args, "-o", "ProxyCommand="+last.proxyCommand())
	}
	return append(args, c.User+"@"+c.Address)
}

// SSHThrough is the ssh command line that reaches, through the host, a system whose
// key is not known, such as a guest, at HOST:PORT as seen from the host.
func (c Config) SSHThrough(address, user string) []string {
	name, port, _ := net.SplitHostPort(address) // the caller has joined it
	return []string{
		"ssh", "-p", port, "-o", "ProxyCommand=" + c.proxyCommand(),
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", user + "@" + name,
	}
}

// proxyCommand is the ProxyCommand that connects ssh through the host.
func (c Config) proxyCommand() string {
	command := c.SSH()
	last := len(command) - 1
	return shellescape.QuoteCommand(command[:last]) + " -W %h:%p " + shellescape.Quote(command[last])
}
