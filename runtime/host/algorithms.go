// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// kindOf selects one list of ssh.Algorithms.
type kindOf func(ssh.Algorithms) []string

func ciphers(a ssh.Algorithms) []string      { return a.Ciphers }
func macs(a ssh.Algorithms) []string         { return a.MACs }
func keyExchanges(a ssh.Algorithms) []string { return a.KeyExchanges }
func hostKeys(a ssh.Algorithms) []string     { return a.HostKeys }

// supported returns those algorithms of a user's list that mhmig supports, in the
// list's order. It is an error that names the option if there are none.
func supported(option string, list []string, kind kindOf) (common []string, err error) {
	known := slices.Concat(kind(ssh.SupportedAlgorithms()), kind(ssh.InsecureAlgorithms()))
	for _, pattern := range list {
		for _, a := range known {
			if match, err := path.Match(pattern, a); (match && err == nil || a == pattern) && !slices.Contains(common, a) {
				common = append(common, a)
			}
		}
	}
	if len(list) > 0 && len(common) == 0 {
		return nil, fmt.Errorf("%s %s: mhmig supports none of them, only %s", option, strings.Join(list, ","), strings.Join(known, ","))
	}
	return common, nil
}

// negotiation returns the algorithms that the user allows for the connection.
func (c Config) negotiation() (n ssh.Config, err error) {
	for _, option := range []struct {
		name string
		list []string
		kind kindOf
		set  *[]string
	}{
		{"Ciphers", c.Ciphers, ciphers, &n.Ciphers},
		{"MACs", c.MACs, macs, &n.MACs},
		{"KexAlgorithms", c.KeyExchanges, keyExchanges, &n.KeyExchanges},
	} {
		if *option.set, err = supported(option.name, option.list, option.kind); err != nil {
			return n, fmt.Errorf("%s: ssh_config: %w", c.Name, err)
		}
	}
	return n, nil
}
