// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/mhmig/mhmig/runtime/host"
)

// sshCase is an ssh_config file for the test of how we and ssh understand it.
// $DIR is the case's folder, $KEYS that of the keys, $PORT and $OTHER are where
// servers listen, on 127.0.0.1, 127.0.0.2 and ::1; $JUMP is where one listens that
// goes on to others, $ME the user who runs the test. Behind each file stands
//
//	Host *
//	  HostName 127.0.0.1
//	  Port $PORT
//	  UserKnownHostsFile $DIR/known_hosts
//	  GlobalKnownHostsFile $DIR/global
//	  IdentityFile $KEYS/last
type sshCase struct {
	name    string
	config  string
	files   map[string]string // more files in $DIR; known_hosts is "* $HOST_KEY", if nothing is said
	target  string            // empty: target
	accept  []string          // names of keys that let in
	plain   bool              // the library reads it, too
	refused string            // what mhmig says that it cannot do, though ssh can
	hashed  bool              // the known_hosts files cannot be compared
	offers  bool              // ssh offers keys that it cannot use
}

var sshCases = []sshCase{
	// how it is written
	{name: "nothing", config: "", plain: true},
	{name: "values", config: "Host target\n  User admin\n  Port $OTHER\n", plain: true},
	{name: "equals, cases, tabs, comments", config: "# c\nhOsT=target\n\tuser = admin \n\tPORT=$OTHER # other\n", plain: true},
	{name: "CRLF", config: "Host target\r\n  User admin\r\n", plain: true},
	{name: "quotes", config: "Host \"target\"\n  User \"admin\"\n  IdentityFile \"$KEYS/first\"\n"},
	{name: "quoted file", config: "IdentityFile \"$KEYS/with blank\"\n", plain: true},
	{name: "quoted pattern with a blank", config: "Host \"a target\" target\n  User admin\n"},
	{name: "comment after a quote", config: "User \"ad#min\" # no\n"},
	{name: "unknown option", config: "Colour blue\n"},
	{name: "unknown option, ignored", config: "IgnoreUnknown Col*\nColour blue\nUser admin\n"},
	{name: "bad number", config: "Host elsewhere\n  Port none\n", plain: false},
	{name: "time units", config: "ServerAliveInterval 1m\nConnectTimeout 20s\nUser admin\n", plain: true},
	{name: "first value wins", config: "User one\nUser two\nHost target\n  User three\n", plain: true},
	{name: "a block for another host", config: "Host elsewhere\n  User no\nHost target\n  User admin\n", plain: true},
	{name: "negated pattern", config: "Host * !target\n  User no\nHost t*t !x\n  User admin\n", plain: true},
	{name: "question mark", config: "Host target?\n  User no\nHost targe?\n  User admin\n"},
	{name: "tabs after patterns", config: "Host\ttarget\t\n  User admin\nHost x\ttarget\n  Port $OTHER\n"},
	{name: "old names", config: "PubkeyAcceptedKeyTypes ssh-ed25519\n", plain: true},

	// Match
	{name: "Match all", config: "Match all\n  User admin\n", plain: true},
	{name: "Match host", config: "Match host tar*\n  User admin\n"},
	{name: "Match host, comma list", config: "Match host elsewhere,target\n  User admin\n"},
	{name: "Match host, capitals", target: "Target", config: "Match host target\n  User admin\n"},
	{name: "Match host, negated", config: "Match host *,!target\n  User no\nMatch host *,!x\n  User admin\n"},
	{name: "Match host after HostName", config: "HostName 127.0.0.2\nMatch host target\n  User no\nMatch host 127.*\n  User admin\n"},
	{name: "Match originalhost", config: "HostName 127.0.0.2\nMatch originalhost target\n  User admin\n"},
	{name: "Match user", config: "User admin\nMatch user admin\n  Port $OTHER\n"},
	{name: "Match user of the target", target: "admin@target", config: "Match user admin\n  Port $OTHER\n"},
	{name: "Match localuser", config: "Match localuser $ME\n  User admin\n"},
	{name: "Match exec", config: "Match exec \"test %n = target\"\n  User admin\nMatch exec \"echo no; false\"\n  Port $OTHER\n"},
	{name: "Match two criteria", config: "Match host target user root\n  Port $OTHER\n"},
	{name: "Match negated", config: "Match !host target\n  User no\nMatch !host x\n  User admin\n"},
	{name: "Match final all", config: "Match final all\n  User admin\n"},
	{name: "Match final sees the HostName", config: "Match final host 127.0.0.1\n  User admin\n"},
	{name: "Match canonical", config: "CanonicalizeHostname yes\nMatch canonical all\n  User admin\n"},
	{name: "CanonicalizeHostname", config: "CanonicalizeHostname yes\nHost 127.0.0.1\n  User admin\n"},
	{name: "CanonicalizeHostname fails", config: "CanonicalizeHostname always\nCanonicalDomains invalid\nCanonicalizeFallbackLocal no\nHostName target\n"},

	// Include
	{name: "Include", config: "Include $DIR/more\n", files: map[string]string{"more": "User admin\nHost target\n  Port $OTHER\n"}, plain: true},
	{name: "Include a missing file", config: "Include $DIR/none $DIR/more\n", files: map[string]string{"more": "User admin\n"}, plain: true},
	{name: "Include many", config: "Include $DIR/m*\n", files: map[string]string{"m2": "User two\n", "m1": "User one\n", "m3": "Port $OTHER\n"}, plain: true},
	{name: "Include below a Host", config: "Host elsewhere\n  Include $DIR/more\n  User no\nHost target\n  Include $DIR/more\n  User admin\n", files: map[string]string{"more": "Port $OTHER\nHost elsewhere\n  User no\n"}, plain: true},
	{name: "Include of Match final all", config: "Include $DIR/more\nUser admin\n", files: map[string]string{"more": "Match final all\n  Port $OTHER\n"}},
	{name: "Include with quotes", config: "Include \"$DIR/the more\"\n", files: map[string]string{"the more": "User admin\n"}},
	{name: "Include brackets", config: "Include $DIR/m[12]\n", files: map[string]string{"m1": "User admin\n", "m3": "Port $OTHER\n"}},
	{name: "Include hidden", config: "Include $DIR/h/*\n", files: map[string]string{"h/.a": "User no\n", "h/b": "User admin\n"}},

	// where
	{name: "HostName", config: "HostName 127.0.0.2\n", plain: true},
	{name: "HostName with a token", target: "0.0.2", config: "HostName 127.%h\n", plain: true},
	{name: "HostName in capitals", config: "HostName LOCALHOST\nAddressFamily inet\n", plain: true},
	{name: "HostName with another token", config: "HostName %n\n"},
	{name: "port of the target", target: "ssh://admin@target:$OTHER", config: "Port 1\nUser no\n", plain: true},
	{name: "an address", target: "::1", config: "Host ::1\n  HostName ::1\n  User admin\n", plain: true},
	{name: "capitals", target: "Target", config: "Host Target\n  User admin\nHost target\n  Port $OTHER\n", plain: true},
	{name: "AddressFamily inet6", config: "HostName localhost\nAddressFamily inet6\n", plain: true},
	{name: "AddressFamily inet", config: "HostName localhost\nAddressFamily inet\n", plain: true},
	{name: "BindAddress", config: "BindAddress 127.0.0.9\n", plain: true},
	{name: "ConnectionAttempts", config: "HostName 127.0.0.3\nConnectionAttempts 2\n", plain: true},
	{name: "ProxyJump", config: "Host target\n  ProxyJump $ME@127.0.0.1:$JUMP\n", plain: true},
	{name: "ProxyJump to an alias", config: "Host target\n  ProxyJump hop\nHost hop\n  User hopper\n  Port $JUMP\n", plain: true},
	{name: "ProxyJump over two", config: "Host target\n  ProxyJump hop,second\nHost hop second\n  User hopper\n  Port $JUMP\n", plain: true},
	{name: "ProxyJump after ProxyJump", config: "Host target\n  ProxyJump second\nHost second\n  ProxyJump hop\nHost hop second\n  User hopper\n  Port $JUMP\n", plain: true},
	{name: "ProxyJump and a comment", config: "Host target\n  ProxyJump hop # no\nHost hop\n  Port $JUMP\n"},
	{name: "ProxyJump none", config: "Host target\n  ProxyJump none\nHost *\n  ProxyJump hop\n", plain: true},
	{name: "ProxyCommand", config: "ProxyCommand nc %h %p\n", refused: "ProxyCommand"},
	{name: "ProxyCommand none", config: "ProxyCommand none\n", plain: true},

	// with which keys
	{name: "IdentityFile, several", config: "IdentityFile $KEYS/second\nIdentityFile $KEYS/first\nIdentityFile $KEYS/none\n", plain: true},
	{name: "IdentityFile with tokens", config: "User first\nHostName 127.0.0.2\nIdentityFile $KEYS/%r\nIdentityFile $KEYS/%h-%n-%p%%\n", plain: true},
	{name: "IdentityFile with a variable", config: "IdentityFile ${SSH_TEST_KEYS}/first\n", plain: true},
	{name: "IdentityFile none", config: "IdentityFile none\n", plain: true},
	{name: "IdentityFile is public, the agent has it", config: "IdentitiesOnly yes\nIdentityFile $KEYS/agent1.pub\n", plain: true},
	{name: "the private half only the agent has", config: "IdentitiesOnly yes\nIdentityFile $KEYS/agent2\n", plain: true},
	{name: "IdentitiesOnly", config: "IdentitiesOnly yes\nIdentityFile $KEYS/first\n", plain: true},
	{name: "keys of the agent come first", config: "IdentityFile $KEYS/first\nIdentityFile $KEYS/agent2\n", accept: []string{"first"}, plain: true},
	{name: "IdentityAgent none", config: "IdentityAgent none\n", plain: true},
	{name: "IdentityAgent a variable", config: "IdentityAgent $SSH_TEST_AGENT\n", plain: true},
	{name: "IdentityAgent a missing socket", config: "IdentityAgent $DIR/%n.sock\n", plain: true},
	{name: "CertificateFile", config: "CertificateFile $KEYS/elsewhere-cert.pub\nIdentityFile $KEYS/second\n", accept: []string{"certificate second"}, plain: true},
	{name: "certificate beside a key", config: "IdentityFile $KEYS/certified\n", accept: []string{"certificate certified"}, plain: true},
	{name: "certificate beside a key, and a CertificateFile", config: "IdentityFile $KEYS/second\nIdentityFile $KEYS/certified\nCertificateFile $KEYS/elsewhere-cert.pub\n", plain: true},
	{name: "key with a passphrase", config: "IdentitiesOnly yes\nIdentityFile $KEYS/locked\n", accept: []string{"locked", "last"}, plain: true, offers: true},
	{name: "key that others may read", config: "IdentitiesOnly yes\nIdentityFile $KEYS/open\n", accept: []string{"open", "last"}, plain: true, offers: true},
	{name: "PubkeyAuthentication no", config: "PubkeyAuthentication no\n", plain: true},
	{name: "PreferredAuthentications", config: "PreferredAuthentications password,keyboard-interactive\n", plain: true},
	{name: "PubkeyAcceptedAlgorithms", config: "IdentityFile $KEYS/rsa\nPubkeyAcceptedAlgorithms rsa-sha2-512\n", plain: true},
	{name: "PubkeyAcceptedAlgorithms less", config: "IdentityFile $KEYS/rsa\nPubkeyAcceptedAlgorithms -ssh-ed25519\n"},
	{name: "RequiredRSASize", config: "IdentityFile $KEYS/rsa\nRequiredRSASize 3072\n", plain: true},

	// whom to trust
	{name: "unknown host", config: "StrictHostKeyChecking ask\n", files: map[string]string{"known_hosts": ""}, plain: true},
	{name: "accept-new", config: "StrictHostKeyChecking accept-new\n", files: map[string]string{"known_hosts": ""}, plain: true},
	{name: "accept-new, hashed", config: "StrictHostKeyChecking accept-new\nHashKnownHosts yes\n", files: map[string]string{"known_hosts": ""}, plain: true, hashed: true},
	{name: "accept-new, changed", config: "StrictHostKeyChecking accept-new\n", files: map[string]string{"known_hosts": "* $BAD_KEY"}, plain: true},
	{name: "no, unknown", config: "StrictHostKeyChecking no\n", files: map[string]string{"known_hosts": ""}, plain: true},
	{name: "no, changed", config: "StrictHostKeyChecking no\n", files: map[string]string{"known_hosts": "* $BAD_KEY"}, plain: true},
	{name: "yes, changed", config: "StrictHostKeyChecking yes\n", files: map[string]string{"known_hosts": "* $BAD_KEY"}, plain: true},
	{name: "revoked", config: "", files: map[string]string{"known_hosts": "* $HOST_KEY\n@revoked * $HOST_KEY"}, plain: true},
	{name: "RevokedHostKeys", config: "RevokedHostKeys $DIR/revoked\n", files: map[string]string{"revoked": "$HOST_KEY"}, plain: true},
	{name: "RevokedHostKeys of another", config: "RevokedHostKeys $DIR/revoked\n", files: map[string]string{"revoked": "$BAD_KEY"}, plain: true},
	{name: "RevokedHostKeys is missing", config: "RevokedHostKeys $DIR/none\n", plain: true},
	{name: "bad lines", config: "", files: map[string]string{"known_hosts": "nonsense\n[127.0.0.1 x y\nh 1024 35 1234567\n* $HOST_KEY\n@what * $BAD_KEY\n"}, plain: true},
	{name: "HostKeyAlias", config: "HostKeyAlias Other\n", files: map[string]string{"known_hosts": "other $HOST_KEY"}, plain: true},
	{name: "UserKnownHostsFile, two", config: "UserKnownHostsFile $DIR/none $DIR/two\n", files: map[string]string{"known_hosts": "", "two": "* $HOST_KEY"}, plain: true},
	{name: "UserKnownHostsFile with a blank", config: "UserKnownHostsFile \"$DIR/the two\" $DIR/none\n", files: map[string]string{"known_hosts": "", "the two": "* $HOST_KEY"}},
	{name: "UserKnownHostsFile with tokens", config: "UserKnownHostsFile $DIR/%n-%p\n", files: map[string]string{"known_hosts": "", "target-$PORT": "* $HOST_KEY"}, plain: true},
	{name: "GlobalKnownHostsFile", config: "", files: map[string]string{"known_hosts": "", "global": "* $HOST_KEY"}, plain: true},
	{name: "GlobalKnownHostsFile none", config: "GlobalKnownHostsFile none\n", files: map[string]string{"known_hosts": "", "global": "* $HOST_KEY"}, plain: true},
	{name: "known with the port", config: "", files: map[string]string{"known_hosts": "[127.0.0.1]:$PORT $HOST_KEY"}, plain: true},
	{name: "known with another port", config: "", files: map[string]string{"known_hosts": "[127.0.0.1]:$OTHER $HOST_KEY"}, plain: true},
	{name: "known without the port", config: "", files: map[string]string{"known_hosts": "127.0.0.1 $HOST_KEY"}, plain: true},
	{name: "an authority", config: "", files: map[string]string{"known_hosts": "@cert-authority * $CA_KEY"}, plain: true},
	{name: "an authority of other hosts", config: "", files: map[string]string{"known_hosts": "@cert-authority x.example.com $CA_KEY"}, plain: true},
	{name: "CheckHostIP", config: "HostName localhost\nAddressFamily inet\nCheckHostIP yes\n", files: map[string]string{"known_hosts": "[localhost]:$PORT $HOST_KEY\n[127.0.0.1]:$PORT $BAD_KEY"}, plain: true},
	{name: "no CheckHostIP", config: "HostName localhost\nAddressFamily inet\nCheckHostIP no\n", files: map[string]string{"known_hosts": "[localhost]:$PORT $HOST_KEY\n[127.0.0.1]:$PORT $BAD_KEY"}, plain: true},
	{name: "NoHostAuthenticationForLocalhost", config: "NoHostAuthenticationForLocalhost yes\n", files: map[string]string{"known_hosts": "* $BAD_KEY"}, plain: true},
	{name: "the second kind of host key is known", config: "", files: map[string]string{"known_hosts": "* $RSA_KEY"}, plain: true},
	{name: "HostKeyAlgorithms", config: "HostKeyAlgorithms rsa-sha2-512\n", files: map[string]string{"known_hosts": "* $HOST_KEY\n* $RSA_KEY"}, plain: true},
	{name: "HostKeyAlgorithms in another order", config: "HostKeyAlgorithms rsa-sha2-256,ssh-ed25519\n", files: map[string]string{"known_hosts": "* $HOST_KEY"}, plain: true},
	{name: "HostKeyAlgorithms less", config: "HostKeyAlgorithms -ssh-ed25519\n", files: map[string]string{"known_hosts": "* $HOST_KEY\n* $RSA_KEY"}},
	{name: "KnownHostsCommand", config: "KnownHostsCommand /bin/echo * $HOST_KEY\n", files: map[string]string{"known_hosts": ""}, refused: "knownhostscommand"},

	// how
	{name: "Ciphers", config: "Ciphers aes256-ctr\nMACs hmac-sha2-256\nKexAlgorithms ecdh-sha2-nistp256\n", plain: true},
	{name: "what does not decide", config: "ControlMaster auto\nControlPath $DIR/control\nCompression yes\nLocalForward 1 x:2\nSendEnv LANG\nUpdateHostKeys no\nLogLevel ERROR\nUser admin\n", plain: true},
}

// sshBench is what the cases need.
type sshBench struct {
	stubs  *stubs
	keys   string
	words  *strings.Replacer
	agent  string
	client string // the program ssh
}

func newSSHBench(t *testing.T) *sshBench {
	t.Helper()
	client, err := exec.LookPath("ssh")
	if err != nil {
		t.Skipf("SKIPPED, NOT TESTED: no OpenSSH client here (package openssh-client): %v", err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	b := &sshBench{client: client, keys: t.TempDir(), stubs: &stubs{names: map[string]string{}, jump: map[string]bool{"jump": true}}}
	made := map[string]keyPair{}
	add := func(name, passphrase string) {
		k := newKey(t, filepath.Join(b.keys, name), passphrase)
		made[name] = k
		b.stubs.names[ssh.FingerprintSHA256(k.signer.PublicKey())] = name
	}
	for _, name := range []string{"first", "second", "last", "certified", "open", "with blank", "127.0.0.2-target-$PORT%", "agent1", "agent2", "host", "bad", "ca"} {
		add(name, "")
	}
	add("locked", "secret")
	rsaKey := func(name string) ssh.Signer {
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		block, err := ssh.MarshalPrivateKey(private, "")
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(b.keys, name), string(pem.EncodeToMemory(block)))
		signer, err := ssh.NewSignerFromKey(private)
		if err != nil {
			t.Fatal(err)
		}
		b.stubs.names[ssh.FingerprintSHA256(signer.PublicKey())] = name
		return signer
	}
	rsaKey("rsa")
	rsaHost := rsaKey("rsa host")
	ca := made["ca"].signer
	_, line := certify(t, made["certified"].signer.PublicKey(), ca, ssh.UserCert, "admin", me.Username)
	writeFile(t, filepath.Join(b.keys, "certified-cert.pub"), line)
	_, line = certify(t, made["second"].signer.PublicKey(), ca, ssh.UserCert, "admin", me.Username)
	writeFile(t, filepath.Join(b.keys, "elsewhere-cert.pub"), line)
	if err := os.Chmod(filepath.Join(b.keys, "open"), 0o644); err != nil {
		t.Fatal(err)
	}
	keyring := agent.NewKeyring()
	for _, name := range []string{"agent1", "agent2"} {
		text, err := os.ReadFile(filepath.Join(b.keys, name))
		if err != nil {
			t.Fatal(err)
		}
		key, err := ssh.ParseRawPrivateKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := keyring.Add(agent.AddedKey{PrivateKey: key, Comment: name}); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(b.keys, name+".pub"), made[name].line())
		os.Remove(filepath.Join(b.keys, name))
	}
	b.agent = serveAgent(t, b.keys, keyring)

	hostCert, _ := certify(t, made["host"].signer.PublicKey(), ca, ssh.HostCert, "127.0.0.1", "127.0.0.2", "::1", "localhost")
	certified, err := ssh.NewCertSigner(hostCert, made["host"].signer)
	if err != nil {
		t.Fatal(err)
	}
	ports := map[string]int{}
	for _, name := range []string{"target", "other", "jump"} {
		first := localListener(t, "tcp", "127.0.0.1:0")
		ports[name] = first.Addr().(*net.TCPAddr).Port
		listeners := []net.Listener{first}
		for _, address := range []string{"127.0.0.2", "::1"} {
			listeners = append(listeners, localListener(t, "tcp", net.JoinHostPort(address, fmt.Sprint(ports[name]))))
		}
		for _, l := range listeners {
			b.stubs.serve(t, name, l, certified, made["host"].signer, rsaHost)
		}
	}
	b.words = strings.NewReplacer(
		"$KEYS", b.keys, "$PORT", fmt.Sprint(ports["target"]), "$OTHER", fmt.Sprint(ports["other"]), "$JUMP", fmt.Sprint(ports["jump"]),
		"$ME", me.Username, "$HOST_KEY", made["host"].line(), "$BAD_KEY", made["bad"].line(), "$CA_KEY", made["ca"].line(),
		"$RSA_KEY", string(ssh.MarshalAuthorizedKey(rsaHost.PublicKey())))
	os.Rename(filepath.Join(b.keys, "127.0.0.2-target-$PORT%"), filepath.Join(b.keys, b.words.Replace("127.0.0.2-target-$PORT%")))
	return b
}

// lay writes the files of a case into a folder and returns the configuration's
// name and the target.
func (b *sshBench) lay(t *testing.T, c sshCase, dir string) (config, target string) {
	t.Helper()
	in := func(text string) string { return strings.ReplaceAll(b.words.Replace(text), "$DIR", dir) }
	files := map[string]string{"known_hosts": "* $HOST_KEY", "config": c.config + `
Host *
  HostName 127.0.0.1
  Port $PORT
  UserKnownHostsFile $DIR/known_hosts
  GlobalKnownHostsFile $DIR/global
  IdentityFile $KEYS/last
`}
	for name, text := range c.files {
		files[in(name)] = text
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, name), in(text))
	}
	if c.target == "" {
		c.target = "target"
	}
	return filepath.Join(dir, "config"), in(c.target)
}

func (b *sshBench) resolve(t *testing.T, config, target string) (host.Config, error) {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	r := host.Resolver{Home: me.HomeDir, User: me.Username, ConfigFile: config, AgentSocket: b.agent}
	return r.Resolve(t.Context(), target, nil, 1)
}

// TestConnectsAsSSHDoes compares where, as whom, with which keys and trusting whom
// we really connect with what ssh does, by servers that note who comes.
func TestConnectsAsSSHDoes(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	b := newSSHBench(t)
	t.Setenv("SSH_TEST_KEYS", b.keys)
	t.Setenv("SSH_TEST_AGENT", b.agent)
	if len(sshCases) < 40 {
		t.Errorf("got %d files, want at least 40", len(sshCases))
	}
	for _, c := range sshCases {
		t.Run(c.name, func(t *testing.T) {
			b.stubs.mu.Lock()
			b.stubs.accept = map[string]bool{}
			for _, name := range c.accept {
				b.stubs.accept[name] = true
			}
			b.stubs.mu.Unlock()

			theirs, ours := t.TempDir(), t.TempDir()
			config, target := b.lay(t, c, theirs)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, b.client, "-F", config, "-o", "BatchMode=yes", target, "true")
			cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+b.agent)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // with those that ProxyJump starts
			cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
			said, sshErr := cmd.CombinedOutput()
			want := b.stubs.take()

			config, target = b.lay(t, c, ours)
			resolved, err := b.resolve(t, config, target)
			if err == nil {
				var h *host.Host
				if h, err = host.Dial(t.Context(), resolved, quiet()); err == nil {
					h.Close()
				}
			}
			got := b.stubs.take()
			if c.refused != "" {
				if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.refused)) || len(got) != 0 {
					t.Errorf("got %v and %+v, want to be told that %s cannot be done", err, got, c.refused)
				}
				return
			}
			if (err == nil) != (sshErr == nil) {
				t.Errorf("got error %v; ssh: %v: %s", err, sshErr, said)
			}
			if c.offers {
				for _, visits := range [][]visit{got, want} {
					for i := range visits {
						visits[i].Keys = slices.DeleteFunc(visits[i].Keys, func(k string) bool { return k != visits[i].In })
					}
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("-ssh +mhmig:\n%s\nmhmig: %v\nssh: %s", d, err, said)
			}
			for _, file := range []string{"known_hosts", "global"} {
				theirs, _ := os.ReadFile(filepath.Join(theirs, file))
				ours, _ := os.ReadFile(filepath.Join(ours, file))
				if c.hashed {
					theirs, ours = fmt.Append(nil, bytes.Count(theirs, []byte("|1|"))), fmt.Append(nil, bytes.Count(ours, []byte("|1|")))
				}
				if d := cmp.Diff(string(theirs), string(ours)); d != "" {
					t.Errorf("%s (-ssh +mhmig):\n%s", file, d)
				}
			}
		})
	}
}

// TestLibraryReadsAsSSHDoes hides ssh: the library then understands the files as
// ssh -G does, or says that it cannot.
func TestLibraryReadsAsSSHDoes(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	b := newSSHBench(t)
	t.Setenv("SSH_TEST_KEYS", b.keys)
	t.Setenv("SSH_TEST_AGENT", b.agent)
	type answer struct {
		config host.Config
		err    error
	}
	dir := t.TempDir()
	bySSH := make([]answer, len(sshCases))
	for i, c := range sshCases {
		config, target := b.lay(t, c, filepath.Join(dir, fmt.Sprint(i)))
		bySSH[i].config, bySSH[i].err = b.resolve(t, config, target)
	}
	t.Setenv("PATH", t.TempDir())
	for i, c := range sshCases {
		t.Run(c.name, func(t *testing.T) {
			config, target := b.lay(t, c, filepath.Join(dir, fmt.Sprint(i)))
			got, err := b.resolve(t, config, target)
			switch {
			case err != nil:
				if c.plain {
					t.Errorf("got error %v, want the file read", err)
				}
				if bySSH[i].err == nil && !strings.Contains(err.Error(), "OpenSSH's client") {
					t.Errorf("error %q does not say that OpenSSH's client would read it", err)
				}
				return
			case bySSH[i].err != nil:
				t.Errorf("got no error; by ssh: %v", bySSH[i].err)
				return
			}
			if d := cmp.Diff(bySSH[i].config, got); d != "" {
				t.Errorf("(-ssh +library):\n%s", d)
			}
		})
	}
}
