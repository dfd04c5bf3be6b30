// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"net"
	"time"
)

// dialTCP connects to the host of c, with its local address and number of attempts.
func dialTCP(ctx context.Context, c Config) (net.Conn, error) {
	local, err := c.localAddress(ctx)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{}
	if local != nil {
		d.LocalAddr = local
	}
	if c.NoTCPKeepAlive {
		d.KeepAlive = -1
	}
	for attempt := 1; ; attempt++ {
		conn, err := d.DialContext(ctx, "tcp"+c.version(), c.endpoint())
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case attempt >= c.ConnectionAttempts:
			return nil, err
		}
		pause := time.NewTimer(time.Second)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// version returns the version of IP to use; empty for any.
func (c Config) version() string {
	switch c.AddressFamily {
	case "inet":
		return "4"
	case "inet6":
		return "6"
	}
	return ""
}

// localAddress returns the address to connect from; nil: any.
func (c Config) localAddress(ctx context.Context) (*net.TCPAddr, error) {
	if c.BindAddress != "" {
		found, err := net.DefaultResolver.LookupIPAddr(ctx, c.BindAddress)
		if err != nil {
			return nil, fmt.Errorf("BindAddress: %w", err)
		}
		for _, a := range found {
			if c.fits(a.IP) {
				return &net.TCPAddr{IP: a.IP, Zone: a.Zone}, nil
			}
		}
		return nil, fmt.Errorf("BindAddress %s: no address of the family %s", c.BindAddress, c.AddressFamily)
	}
	if c.BindInterface == "" {
		return nil, nil
	}
	link, err := net.InterfaceByName(c.BindInterface)
	if err != nil {
		return nil, fmt.Errorf("BindInterface %s: %w", c.BindInterface, err)
	}
	addresses, err := link.Addrs()
	if err != nil {
		return nil, fmt.Errorf("BindInterface %s: %w", c.BindInterface, err)
	}
	for _, a := range addresses {
		if a, ok := a.(*net.IPNet); ok && c.fits(a.IP) && !a.IP.IsLinkLocalUnicast() && !a.IP.IsLoopback() {
			return &net.TCPAddr{IP: a.IP}, nil
		}
	}
	return nil, fmt.Errorf("BindInterface %s: it has no address to connect from", c.BindInterface)
}

func (c Config) fits(ip net.IP) bool {
	switch c.version() {
	case "4":
		return ip.To4() != nil
	case "6":
		return ip.To4() == nil
	}
	return true
}
