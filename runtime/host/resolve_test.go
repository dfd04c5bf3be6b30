// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/host"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: no OpenSSH client here (package openssh-client): %v", err)
	}
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, in("config"), `
Include `+in("conf.d")+`*
Host alias
    HostName real.example.com
    Port 2222
    User admin
    IdentityFile ~/.ssh/%r-key
    IdentitiesOnly yes
    UserKnownHostsFile ~/known-%h "/etc/quoted"
    StrictHostKeyChecking accept-new
    ConnectTimeout 7s
    ServerAliveInterval 1m3
    ServerAliveCountMax 4
    HostKeyAlias other-name
    IdentityAgent ~/agent.sock
Host inner
    ProxyJump bastion,ops@second:2200
Host bastion
    HostName bastion.example.com
    ProxyJump outermost
Host second
    ProxyJump never
Host circle
    ProxyJump circle2
Host circle2
    ProxyJump circle
Host command
    ProxyCommand nc %h %p
Host direct
    ProxyJump none
    IdentityAgent none
Match exec "test -e /x"
    User never
Match host other,matched
    User matched-user
Host *
    User everyone
`)
	writeFile(t, in("conf.d1"), "Include ~/conf.e?\nHost included\n  HostName included.example.com\n")
	writeFile(t, in("conf.e1"), "Match final host included.example.com\n  HostKeyAlias final\n")
	writeFile(t, in("strange"), "Host elsewhere\n  StrictHostKeyChecking perhaps\n")
	writeFile(t, in("system"), "Match final all\n  User never\nHost *\n  Port 222\n")
	writeFile(t, in("other"), "Host alias\n  HostName other.example.com\n")
	writeFile(t, in("mykey"), "")
	r := host.Resolver{
		Home: dir, User: "me", ConfigFile: in("config"), SystemConfig: in("system"),
		KnownHosts: []string{in("known_hosts")}, GlobalKnownHosts: []string{"/etc/known"}, AgentSocket: "/agent",
	}
	keys := []string{in(".ssh/id_rsa"), in(".ssh/id_ecdsa"), in(".ssh/id_ecdsa_sk"), in(".ssh/id_ed25519"), in(".ssh/id_ed25519_sk")}
	known, global := []string{in("known_hosts")}, []string{"/etc/known"}
	plain := host.Config{Name: "plain", Address: "plain", Port: 222, User: "everyone", IdentityFiles: keys, KnownHostsFiles: known, GlobalKnownHostsFiles: global, AgentSocket: "/agent"}
	with := func(change func(c *host.Config)) host.Config {
		c := plain
		change(&c)
		return c
	}

	tests := []struct {
		name   string
		params map[string]string
		want   host.Config
	}{
		{name: "plain", want: plain},
		{name: "root@plain:2200", want: with(func(c *host.Config) { c.Name, c.User, c.Port = "root@plain:2200", "root", 2200 })},
		{name: "192.0.2.7", want: with(func(c *host.Config) { c.Name, c.Address = "192.0.2.7", "192.0.2.7" })},
		{name: "me@[2001:db8::1]:22", want: with(func(c *host.Config) {
			c.Name, c.Address, c.User, c.Port = "me@[2001:db8::1]:22", "2001:db8::1", "me", 22
		})},
		{name: "2001:db8::1", want: with(func(c *host.Config) { c.Name, c.Address = "2001:db8::1", "2001:db8::1" })},
		{name: "alias", want: host.Config{
			Name: "alias", Address: "real.example.com", Port: 2222, User: "admin",
			IdentityFiles: []string{in(".ssh/admin-key")}, IdentitiesOnly: true, AgentSocket: in("agent.sock"),
			KnownHostsFiles: []string{in("known-real.example.com"), "/etc/quoted"}, GlobalKnownHostsFiles: global, HostKeyAlias: "other-name",
			HostKeys: host.AcceptNewHostKeys, ConnectTimeout: 7 * time.Second, KeepaliveInterval: 63 * time.Second, KeepaliveCount: 4,
		}},
		{name: "included", want: with(func(c *host.Config) {
			c.Name, c.Address, c.HostKeyAlias = "included", "included.example.com", "final"
		})},
		{name: "matched", want: with(func(c *host.Config) { c.Name, c.Address, c.User = "matched", "matched", "matched-user" })},
		{name: "direct", want: with(func(c *host.Config) { c.Name, c.Address, c.AgentSocket = "direct", "direct", "" })},
		{name: "inner", want: with(func(c *host.Config) {
			c.Name, c.Address = "inner", "inner"
			c.ProxyJump = []host.Config{
				with(func(c *host.Config) { c.Name, c.Address = "outermost", "outermost" }),
				with(func(c *host.Config) { c.Name, c.Address = "bastion", "bastion.example.com" }),
				with(func(c *host.Config) {
					c.Name, c.Address, c.User, c.Port = "ops@second:2200", "second", "ops", 2200
				}),
			}
		})},
		{
			name: "plain",
			params: map[string]string{
				"ssh_user": "tester", "ssh_user_host2": "second", "ssh_user_host1": "first",
				"ssh_port": "22", "ssh_password": "hidden", "ssh_address_host2": "192.0.2.2",
				"ssh_key_host2": "~/mykey", "ssh_known_hosts": "/a /b", "ssh_connect_timeout": "3", "ssh_max_sessions": "50",
			},
			want: host.Config{
				Name: "plain", Address: "192.0.2.2", User: "second", Port: 22, Password: "hidden", AgentSocket: "/agent",
				IdentityFiles: []string{in("mykey")}, IdentitiesOnly: true, KnownHostsFiles: []string{"/a", "/b"},
				ConnectTimeout: 3 * time.Second, MaxSessions: 50,
			},
		},
		{name: "alias", params: map[string]string{"ssh_config": "~/other"}, want: with(func(c *host.Config) {
			c.Name, c.Address, c.User, c.Port = "alias", "other.example.com", "me", 0
		})},
		{name: "alias", params: map[string]string{"ssh_config": "none"}, want: with(func(c *host.Config) {
			c.Name, c.Address, c.User, c.Port = "alias", "alias", "me", 0
		})},
	}
	for i, test := range tests {
		t.Run(fmt.Sprint(i, " ", test.name), func(t *testing.T) {
			got, err := r.Resolve(t.Context(), test.name, test.params, 2)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("Resolve(%q) (-want +got):\n%s", test.name, d)
			}
		})
	}

	bad := []struct {
		name   string
		params map[string]string
		says   []string
	}{
		{"", nil, []string{"[user@]host[:port]"}},
		{"a b", nil, []string{"[user@]host[:port]"}},
		{"host:0", nil, []string{"port"}},
		{"host:x", nil, []string{"port"}},
		{"circle", nil, []string{"circle, circle2, circle"}},
		{"command", nil, []string{"ProxyCommand", "ProxyJump"}},
		{"-x", nil, []string{"[user@]host[:port]"}},
		{"plain", map[string]string{"ssh_config": "~/strange"}, []string{in("strange") + " line 2", "perhaps", "param ssh_config"}},
		{"plain", map[string]string{"ssh_port_host2": "ssh"}, []string{"ssh_port", `"ssh"`}},
		{"plain", map[string]string{"ssh_port": "70000"}, []string{"ssh_port"}},
		{"plain", map[string]string{"ssh_key": "~/nokey"}, []string{"ssh_key", in("nokey")}},
		{"plain", map[string]string{"ssh_config": "/none"}, []string{"ssh_config", "/none"}},
	}
	for _, test := range bad {
		if _, err := r.Resolve(t.Context(), test.name, test.params, 2); err == nil {
			t.Errorf("Resolve(%q, %v): got no error", test.name, test.params)
		} else {
			wantText(t, err, append(test.says, "resolve host "+test.name)...)
		}
	}
}

func TestSecretIsNotShown(t *testing.T) {
	t.Parallel()
	c := host.Config{Name: "host1", Password: "hidden"}
	marshalled, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	logTo(&logged).Info("config", "config", c, "password", c.Password)
	for _, shown := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v", c, c), string(marshalled), logged.String(), c.Password.String()} {
		if strings.Contains(shown, "hidden") || !strings.Contains(shown, "***") {
			t.Errorf("got %s, want *** in the place of the password", shown)
		}
	}
	if c.Password.Reveal() != "hidden" {
		t.Error("Reveal does not return the secret")
	}
}
