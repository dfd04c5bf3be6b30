// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// netnsScript is what the first process of a host runs.
//
//go:embed netns-host.sh
var netnsScript []byte

// programs are what a netns lab needs, with the Debian packages that have them.
var programs = []struct{ path, pack string }{
	{"ip", "iproute2"},
	{"mount", "mount"},
	{"hostname", "hostname"},
	{"nsenter", "util-linux"},
	{"/usr/sbin/sshd", "openssh-server"},
}

// probeTimeout is how long to wait for an answer of a host that may not be on the
// network yet, before the next attempt.
const probeTimeout = 50 * time.Millisecond

// checkNetns returns an error if a netns lab is not possible.
func checkNetns() error {
	if os.Geteuid() != 0 {
		return errors.New("only root can make network namespaces: use sudo, or an embedded lab, which needs no root")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p.path); err != nil {
			return fmt.Errorf("%s is missing: install the package %s (apt-get install %s)", p.path, p.pack, p.pack)
		}
	}
	return nil
}

// startNetns makes n hosts that are network namespaces with sshd.
//
//	this machine           host i
//	mh<id> ── mh<id>-i ── eth0 ── br0
//	10.77.x.1                     10.77.x.(10+i)
func (l *Lab) startNetns(ctx context.Context, k *keys, n int) error {
	s := l.state
	s.User = "root"
	subnet, err := l.makeBridge(ctx, n)
	if err != nil {
		return err
	}
	for i := range n {
		if err := l.writeNetnsHost(k, i); err != nil {
			return err
		}
		m, err := l.startNSHost(i)
		if err != nil {
			return fmt.Errorf("start %s: %w", hostName(i), err)
		}
		l.nsHosts = append(l.nsHosts, m)
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, m := range l.nsHosts {
		group.Go(func() error {
			if err := m.connect(ctx, s.Links[0], s.Links[i+1], subnet, i); err != nil {
				return fmt.Errorf("connect %s: %w", hostName(i), err)
			}
			return m.waitForSSH(ctx, s.Hosts[i])
		})
	}
	return group.Wait()
}

// makeBridge chooses a free subnet and makes this machine's bridge in it. Other labs
// are locked out, so that none takes the same.
func (l *Lab) makeBridge(ctx context.Context, hosts int) (subnet netip.Prefix, err error) {
	unlock, err := l.lockNetworks(ctx)
	if err != nil {
		return netip.Prefix{}, err
	}
	defer unlock()
	if subnet, err = freeSubnet(ctx); err != nil {
		return netip.Prefix{}, err
	}
	s := l.state
	bridge := "mh" + s.ID
	s.Subnet, s.Links = subnet.String(), []string{bridge}
	for i := range hosts {
		s.Links = append(s.Links, fmt.Sprintf("%s-%d", bridge, i+1))
		s.Hosts = append(s.Hosts, Endpoint{
			Name: hostName(i), Address: hostAddress(subnet, i).String(), Port: 22, StateDir: filepath.Join(shortDir(s.ID), hostName(i)),
		})
	}
	if err := s.save(); err != nil {
		return netip.Prefix{}, err
	}
	gateway := netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
	err = ip(ctx,
		fmt.Sprintf("link add %s address %s type bridge", bridge, bridgeMAC(subnet, 0)),
		fmt.Sprintf("address add %s dev %s", gateway, bridge),
		fmt.Sprintf("link set %s up", bridge))
	if err != nil {
		return netip.Prefix{}, err
	}
	// An ARP request for a host is lost until the bridge forwards to its port, and
	// would only be repeated after a second.
	repeat := []byte(strconv.FormatInt(probeTimeout.Milliseconds(), 10))
	return subnet, os.WriteFile("/proc/sys/net/ipv4/neigh/"+bridge+"/retrans_time_ms", repeat, 0)
}

// lockNetworks prevents other labs from making networks until unlock. The lock is on
// a folder that each machine has, so that no lock file is left.
func (l *Lab) lockNetworks(ctx context.Context) (unlock func(), err error) {
	const folder, holder = "/run", "another lab, which is making its network"
	notice := time.AfterFunc(time.Second, func() { l.log.Info("waiting for "+holder, "locked", folder) })
	defer notice.Stop()
	return waitForLock(ctx, folder, holder+" and has locked "+folder)
}

// freeSubnet returns the first 10.77.x.0/24 without an address or a route on this
// machine.
func freeSubnet(ctx context.Context) (netip.Prefix, error) {
	out, err := exec.CommandContext(ctx, "ip", "-4", "route", "show", "table", "all").Output()
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("list the routes: %w", err)
	}
	return chooseSubnet(string(out))
}

// chooseSubnet is freeSubnet for given output of ip route.
func chooseSubnet(routes string) (netip.Prefix, error) {
	var taken []netip.Prefix
	for word := range strings.FieldsSeq(routes) {
		if p, err := netip.ParsePrefix(word); err == nil {
			taken = append(taken, p)
		} else if a, err := netip.ParseAddr(word); err == nil {
			taken = append(taken, netip.PrefixFrom(a, a.BitLen()))
		}
	}
next:
	for x := range 256 {
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(x), 0}), 24)
		for _, p := range taken {
			if p.Overlaps(subnet) {
				continue next
			}
		}
		return subnet, nil
	}
	return netip.Prefix{}, errors.New("find a network for the lab: none of 10.77.0.0/24 to 10.77.255.0/24 is free")
}

func hostAddress(subnet netip.Prefix, i int) netip.Addr {
	a := subnet.Addr().As4()
	a[3] = byte(11 + i)
	return netip.AddrFrom4(a)
}

// bridgeMAC returns the address of bridge n of a subnet: 0 is this machine's, 1
// that of host1.
func bridgeMAC(subnet netip.Prefix, n int) string {
	return fmt.Sprintf("02:4d:48:00:%02x:%02x", subnet.Addr().As4()[2], n)
}

// writeNetnsHost makes the folders and files of host i.
func (l *Lab) writeNetnsHost(k *keys, i int) error {
	dir := l.state.hostDir(i)
	for _, folder := range []struct {
		name string
		mode os.FileMode
	}{
		{".", 0o755},
		{"root", 0o700},
		{"run", 0o755},
		{"run/sshd", 0o755},
		{"tmp", os.ModeSticky | 0o777},
	} {
		path := filepath.Join(dir, folder.name)
		// Chmod, as Mkdir applies the umask.
		if err := errors.Join(os.MkdirAll(path, 0o700), os.Chmod(path, folder.mode)); err != nil {
			return err
		}
	}
	config := strings.Join([]string{
		"HostKey " + dir + "/ssh_host_key",
		"AuthorizedKeysFile " + dir + "/authorized_keys",
		"AuthenticationMethods publickey",
		"PermitRootLogin prohibit-password",
		"StrictModes no", // it checks the owners of all parent folders of the keys
		"UsePAM no",
		"UseDNS no",
		"PidFile none",
		"PrintMotd no",
		"PrintLastLog no",
		"AllowTcpForwarding yes",
		"AllowStreamLocalForwarding yes",
		"StreamLocalBindUnlink yes",
		"MaxSessions " + strconv.Itoa(maxSessions),
		"MaxStartups 100:30:200",
		"AcceptEnv LANG LC_*",
		"SetEnv " + strings.Join(l.state.environment(i), " "),
		"Subsystem sftp internal-sftp",
		"",
	}, "\n")
	for _, file := range []struct {
		name    string
		content []byte
	}{
		{"netns-host.sh", netnsScript},
		{"sshd_config", []byte(config)},
		{"ssh_host_key", k.hosts[i].private},
		{"authorized_keys", k.authorized()},
		// Without PAM, sshd refuses an account that is locked by "!", as root is in many images.
		{"shadow", []byte("root:*:19000:0:99999:7:::\n")},
		{"root/.bashrc", fmt.Appendf(nil, "PS1='%s:\\w\\$ '\n", hostName(i))},
	} {
		if err := os.WriteFile(filepath.Join(dir, file.name), file.content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// nsHost is a netns host: the first process of a PID namespace, so that all the
// host's processes end with it.
type nsHost struct {
	name   string
	cmd    *exec.Cmd
	log    *os.File
	exited <-chan struct{} // closed when cmd.ProcessState is set
}

// startNSHost starts host i, which is not on the network yet.
func (l *Lab) startNSHost(i int) (*nsHost, error) {
	s := l.state
	if err := errors.Join(os.MkdirAll(s.States, 0o700), os.MkdirAll(s.Versions, 0o755)); err != nil { // to be mounted
		return nil, err
	}
	log, err := os.Create(filepath.Join(s.hostDir(i), "host.log"))
	if err != nil {
		return nil, err
	}
	m := &nsHost{name: hostName(i), log: log}
	m.cmd = exec.Command("/bin/sh", filepath.Join(s.hostDir(i), "netns-host.sh"), m.name, s.Dir, s.Hosts[i].StateDir, s.States, s.Versions)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}, s.environment(i)...)
	m.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID,
		Setsid:     true,
		Pdeathsig:  syscall.SIGKILL,
	}
	if m.exited, err = launch(m.cmd); err != nil {
		log.Close()
		return nil, err
	}
	return m, nil
}

// connect connects host i to the network: a veth pair joins the bridge and the
// host's eth0, and the host gets an address.
func (m *nsHost) connect(ctx context.Context, bridge, link string, subnet netip.Prefix, i int) error {
	pid := m.cmd.Process.Pid
	err := ip(ctx,
		fmt.Sprintf("link add %s type veth peer name eth0 netns %d", link, pid),
		fmt.Sprintf("link set %s master %s up", link, bridge))
	if err != nil {
		return err
	}
	// A bridge without its own MAC address takes the lowest one of its ports; when
	// a guest's port is added or removed, peers would keep using the old one.
	return runIP(exec.CommandContext(ctx, "nsenter", "--net", "--target", strconv.Itoa(pid), "ip", "-batch", "-"),
		"link set lo up",
		fmt.Sprintf("link add br0 address %s type bridge", bridgeMAC(subnet, i+1)),
		"link set eth0 master br0 up",
		"link set br0 up",
		fmt.Sprintf("address add %s dev br0", netip.PrefixFrom(hostAddress(subnet, i), subnet.Bits())))
}

// waitForSSH returns when the host's sshd accepts connections.
func (m *nsHost) waitForSSH(ctx context.Context, e Endpoint) error {
	const (
		limit = 20 * time.Second
		step  = 10 * time.Millisecond
	)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit))
	defer cancel()
	dialer := net.Dialer{Timeout: probeTimeout}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(e.Address, strconv.Itoa(e.Port)))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-time.After(step):
		case <-m.exited:
			return fmt.Errorf("%s ended: %s\n%s", m.name, m.cmd.ProcessState, m.output())
		case <-ctx.Done():
			return fmt.Errorf("wait for sshd of %s: %w (%w)\n%s", m.name, context.Cause(ctx), err, m.output())
		}
	}
}

// output returns the output of the host's first processes.
func (m *nsHost) output() []byte {
	text, _ := os.ReadFile(m.log.Name())
	return bytes.TrimSpace(text)
}

// kill kills the host's processes with SIGKILL, and returns when they are gone.
func (m *nsHost) kill() {
	m.cmd.Process.Kill()
	<-m.exited
	m.log.Close()
}

// removeLinks removes those of the links that exist. A host's link may disappear at
// the same time, with the namespace of its other end.
func removeLinks(ctx context.Context, links []string) error {
	var errs []error
	for _, link := range links {
		if !linkExists(link) {
			continue
		}
		if err := ip(ctx, "link delete "+link); err != nil && linkExists(link) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func linkExists(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}

// ip runs commands of ip(8), and stops at the first that fails.
func ip(ctx context.Context, commands ...string) error {
	return runIP(exec.CommandContext(ctx, "ip", "-batch", "-"), commands...)
}

// runIP runs ip -batch with commands on its stdin.
func runIP(cmd *exec.Cmd, commands ...string) error {
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %s: %w: %s", strings.Join(commands, "; "), err, bytes.TrimSpace(out))
	}
	return nil
}
