// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/mhmig/mhmig/lang/api"
)

// nicDrivers are QEMU's devices for the values of nic_model.
var nicDrivers = map[string]string{
	"virtio": "virtio-net-pci", "e1000": "e1000", "e1000e": "e1000e", "rtl8139": "rtl8139", "vmxnet3": "vmxnet3",
}

// nic is a network card. One whose mode is none only reserves its slot.
type nic struct {
	name     string
	index    int
	mode     string // user, tap or none
	model    string
	mac      string
	bridge   string     // of a tap: netdst
	address  string     // of a guest with a tap: nic_ip, or ""
	forwards []Forward  // of the first NIC in user mode
	extra    []Property // nic_extra_params
	netdev   []Property // vhost, vhostforce and netdev_extra_params; the guest does not see them
}

func nics(c *Config, v api.Values) []Device {
	var devices []Device
	for i, name := range plainNames(v, "nics", maxNICs) {
		own := v.Object(name)
		n := &nic{
			name: name, index: i, mode: own.Choice("nic_mode"), model: own.Choice("nic_model"),
			mac: own.Word("mac"), bridge: own.Word("netdst"), address: own.Word("nic_ip"),
		}
		if n.mac == "" {
			variant := v.Text("name")
			if n.mode == "user" { // a network of its own: in all variants the same, so that one saved state fits them
				variant = ""
			}
			n.mac = macOf(variant, c.Name, name)
		} else if mac, err := net.ParseMAC(n.mac); err != nil || len(mac) != 6 {
			own.Invalid("mac", "an address such as 52:54:00:12:34:56")
		}
		switch _, err := netip.ParseAddr(n.address); {
		case n.address == "":
		case n.address == autoAddress:
			if n.mode == "tap" && (i > 0 || ShippedGuest(c.Kernel) != ShippedJeOS) {
				own.Invalid("nic_ip", "an address: auto is for the first card of JeOS")
			}
		case err != nil:
			own.Invalid("nic_ip", "an IP address, or auto")
		}
		if n.mode == "tap" && n.bridge == "" {
			own.Unfit("netdst", "nic_mode = tap needs the name of a bridge on the host")
		}
		if n.mode == "user" && !slices.ContainsFunc(devices, func(d Device) bool { return d.(*nic).mode == "user" }) {
			n.forwards = forwardsOf(own) // the guest's ports are forwarded by its first NIC in user mode
		}
		n.extra = parseExtra(own, "nic_extra_params")
		n.parseNetdev(c, own)
		devices = append(devices, n)
	}
	return devices
}

// parseNetdev parses the properties of the NIC's end on the host. vhost moves packets in
// the host's kernel, which only a tap can: with another nic_mode the variant tests
// something else than its config says, and [Config.Ignored] says so.
func (n *nic) parseNetdev(c *Config, own api.Values) {
	for _, param := range []string{"vhost", "vhostforce"} {
		if own.Bool(param) {
			n.netdev = append(n.netdev, Property{param, true})
		}
	}
	for _, p := range parseExtra(own, "netdev_extra_params") {
		_, n.netdev = takeProperty(n.netdev, p.Name)
		n.netdev = append(n.netdev, p)
	}
	if n.mode == "tap" {
		return
	}
	for _, param := range []string{"vhost", "vhostforce"} {
		value, rest := takeProperty(n.netdev, param)
		if n.netdev = rest; value != "on" {
			continue
		}
		if !own.Has(param) || !own.Bool(param) {
			param = "netdev_extra_params"
		}
		c.ignore(param, n.name, fmt.Sprintf("vhost needs nic_mode = tap, but that of %s is %s", n.name, n.mode))
	}
}

func (n *nic) Settings() []Setting {
	settings := []Setting{
		{Param: "nics", Value: n.name},
		{Param: "nic_mode", Objects: []string{n.name}, Value: n.mode},
	}
	if n.mode != "none" {
		settings = append(settings,
			Setting{Param: "nic_model", Objects: []string{n.name}, Value: n.model},
			Setting{Param: "mac", Objects: []string{n.name}, Value: n.mac},
			Setting{Param: "nic_extra_params", Objects: []string{n.name}, Value: propertyText(n.extra)})
	}
	return settings
}

func (n *nic) Render(l *Layout) error {
	switch n.mode {
	case "none":
		return nil
	case "user":
		netdev := Option{Flag: "-netdev", Kind: "user", Properties: []Property{{"id", n.name}}}
		for _, f := range n.forwards {
			netdev = netdev.with(Property{"hostfwd", fmt.Sprintf("tcp:127.0.0.1:%d-:%d", f.Host, f.Guest)})
		}
		l.spec.Forwards = append(l.spec.Forwards, n.forwards...)
		l.option(netdev.with(n.netdev...))
	case "tap":
		t := Tap{Name: tapName(l.Placement, l.vm, n.name), Bridge: n.bridge, MAC: n.mac, Address: n.address}
		if n.address == autoAddress {
			t.Address = l.address
		}
		l.spec.Taps = append(l.spec.Taps, t)
		l.option(Option{Flag: "-netdev", Kind: "tap", Properties: []Property{
			{"id", n.name}, {"ifname", t.Name}, {"script", "no"}, {"downscript", "no"},
		}}.with(n.netdev...))
	}
	// With an empty romfile, hosts need no boot ROMs, and the ROMs need not be the same
	// for a migration.
	properties := append(l.at(slotFirstNIC+n.index),
		Property{"id", "dev_" + n.name}, Property{"netdev", n.name}, Property{"mac", n.mac}, Property{"romfile", ""})
	l.device(nicDrivers[n.model], append(properties, n.extra...)...)
	return nil
}

// forwardsOf returns the guest's shell port and the ports that redirs lists. A
// redirection NAME has the params guest_port_NAME and, for a fixed port of the host,
// host_port_NAME. virt-test's remote_shell is the shell port.
func forwardsOf(v api.Values) []Forward {
	shell := v.Port("shell_port")
	forwards := []Forward{{Guest: shell}}
	for _, name := range v.Names("redirs") {
		f := Forward{Guest: v.Port("guest_port_" + name), Host: v.Port("host_port_" + name)}
		switch {
		case v.Has("guest_port_" + name):
		case name == "remote_shell":
			f.Guest = shell
		default:
			v.Invalid("guest_port_"+name, "a port number")
		}
		if i := slices.IndexFunc(forwards, func(o Forward) bool { return o.Guest == f.Guest }); i >= 0 {
			forwards[i] = f
			continue
		}
		forwards = append(forwards, f)
	}
	return forwards
}

// macOf returns a MAC that is the same on every host, and differs between variants, VMs
// and NICs.
func macOf(variant, vm, nic string) string {
	h := digest(variant, vm, nic)
	return fmt.Sprintf("52:54:00:%02x:%02x:%02x", h[0], h[1], h[2])
}

// tapName returns a name of at most 15 characters, the limit of Linux. Each of a VM's
// instances on a host has its own.
func tapName(placement Placement, vm, nic string) string {
	return fmt.Sprintf("mh%x", digest(placement.RunDir, InstanceName(vm, placement.ID), nic)[:5])
}

func digest(parts ...string) []byte {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return sum[:]
}
