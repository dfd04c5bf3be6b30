// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
)

// autoAddress is the value of nic_ip with which mhmig chooses the guest's address, and
// tells the guest of it: only JeOS reads it, and for its first card only.
const autoAddress = "auto"

// addressTries is how many addresses are tried before a network counts as full.
const addressTries = 32

// addresses are the guests' addresses that mhmig has chosen in a run.
type addresses struct {
	byMAC memo[string]

	mu    sync.Mutex // guards taken
	taken map[netip.Addr]bool
}

// take reserves an address, and reports false when another guest has it.
func (a *addresses) take(address netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.taken[address] {
		return false
	}
	if a.taken == nil {
		a.taken = map[netip.Addr]bool{}
	}
	a.taken[address] = true
	return true
}

// chooseAddress returns an address in the network of the host's bridge that nobody uses,
// with the network's size, the same for a MAC in the whole run; "" for a VM without
// nic_ip = auto.
func (c *Cache) chooseAddress(ctx context.Context, hc HostConfig) (string, error) {
	n := hc.Config.addressedNIC()
	if n == nil {
		return "", nil
	}
	return c.addresses.byMAC.get(ctx, n.mac, func(ctx context.Context) (string, error) {
		network, err := bridgeNetwork(ctx, hc.Host, n.bridge)
		if err != nil {
			return "", fmt.Errorf("%s: param nic_ip: auto takes an address in the network of the bridge: %w; set the address instead", n.name, err)
		}
		for _, address := range candidates(network, n.mac) {
			if !c.addresses.take(address) {
				continue
			}
			if used, err := answers(ctx, hc.Host, address); err != nil || !used {
				return netip.PrefixFrom(address, network.Bits()).String(), err
			}
		}
		return "", fmt.Errorf("%s: param nic_ip: auto found no free address in %s on %s; set an address instead", n.name, network.Masked(), hc.Host.Name())
	})
}

// addressedNIC is the card with nic_ip = auto, nil if there is none.
func (c *Config) addressedNIC() *nic {
	for _, device := range c.Devices {
		if n, ok := device.(*nic); ok && n.mode == "tap" && n.address == autoAddress {
			return n
		}
	}
	return nil
}

// bridgeNetwork returns the host's own IPv4 address on a bridge, with its network's size.
func bridgeNetwork(ctx context.Context, h Host, bridge string) (netip.Prefix, error) {
	out, err := h.Run(ctx, host.Command{Args: []string{"ip", "-4", "-o", "address", "show", "dev", bridge}, Timeout: queryTimeout})
	if err != nil {
		return netip.Prefix{}, err
	}
	fields := strings.Fields(string(out.Stdout))
	for i, field := range fields {
		if field != "inet" || i+1 == len(fields) {
			continue
		}
		network, err := netip.ParsePrefix(fields[i+1])
		if err == nil && network.Bits() > 28 {
			err = fmt.Errorf("%s is too small", network)
		}
		return network, err
	}
	return netip.Prefix{}, errors.New(bridge + " has no IPv4 address on " + h.Name())
}

// candidates are addresses in the upper half of a network, in an order that the MAC
// determines: people and DHCP servers prefer low ones.
func candidates(network netip.Prefix, mac string) []netip.Addr {
	base := network.Masked().Addr().As4()
	first := binary.BigEndian.Uint32(base[:])
	half := uint32(1) << (31 - network.Bits())
	start := binary.BigEndian.Uint32(digest(mac))
	var all []netip.Addr
	for i := range min(addressTries, half-1) { // the last one is for broadcasts
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], first+half+(start%(half-1)+i)%(half-1))
		all = append(all, netip.AddrFrom4(b))
	}
	return all
}

// answers says whether somebody in the host's network has an address. Without the
// program ping nobody is asked.
func answers(ctx context.Context, h Host, address netip.Addr) (bool, error) {
	_, err := h.Run(ctx, host.Command{Script: "ping -n -c 1 -W 1 " + shellescape.Quote(address.String()) + " >/dev/null 2>&1", Timeout: queryTimeout})
	if _, unanswered := errors.AsType[*host.ExitError](err); unanswered {
		return false, nil
	}
	return err == nil, err
}
