// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mhmig/mhmig/runtime/host/sshconfig"
)

// Resolver makes Configs from ssh_config files and params.
type Resolver struct {
	Home             string   // the folder that ~ stands for
	User             string   // the default login name
	ConfigFile       string   // the user's ssh_config file, which may be missing
	SystemConfig     string   // read last. Empty: none
	KnownHosts       []string // the default known_hosts files
	GlobalKnownHosts []string // more of them, which are not written to
	AgentSocket      string   // the default agent
}

// Resolve makes the Config of the host that the user calls name, with the
// [Resolver] of the user who runs this process. It blocks while ssh -G evaluates
// the configuration files.
//
// Name is an alias of ~/.ssh/config, a DNS name or an IP address, as
// [user@]host[:port]. Position is the host's place among the run's hosts, from
// 1. Each of these params overrides the files when it is set, with the suffix
// _hostN (N is the position) or without:
//
//	ssh_address ssh_port ssh_user ssh_password
//	ssh_key          private key files, separated by blanks; no others are tried
//	ssh_known_hosts  known_hosts files, separated by blanks
//	ssh_config       an ssh_config file to read instead of the user's; "none" for no file
//	ssh_connect_timeout  seconds
//	ssh_max_sessions     what the server allows on a connection
func Resolve(ctx context.Context, name string, params map[string]string, position int) (Config, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return Config{}, fmt.Errorf("resolve host %s: %w", name, err)
	}
	login := os.Getenv("USER")
	if u, err := user.Current(); err == nil {
		login = u.Username
	}
	ssh := filepath.Join(home, ".ssh")
	return Resolver{
		Home:             home,
		User:             login,
		ConfigFile:       filepath.Join(ssh, "config"),
		SystemConfig:     "/etc/ssh/ssh_config",
		KnownHosts:       []string{filepath.Join(ssh, "known_hosts"), filepath.Join(ssh, "known_hosts2")},
		GlobalKnownHosts: systemKnownHosts(),
		AgentSocket:      os.Getenv("SSH_AUTH_SOCK"),
	}.Resolve(ctx, name, params, position)
}

// systemKnownHosts are the known_hosts files of all users of this machine.
func systemKnownHosts() []string {
	return []string{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}
}

// Resolve does what the function [Resolve] does, by r's files.
func (r Resolver) Resolve(ctx context.Context, name string, params map[string]string, position int) (Config, error) {
	c, err := r.resolve(ctx, name, func(key string) string {
		if v, ok := params[fmt.Sprintf("%s_host%d", key, position)]; ok {
			return v
		}
		return params[key]
	})
	if err != nil {
		return Config{}, fmt.Errorf("resolve host %s: %w", name, err)
	}
	return c, nil
}

func (r Resolver) resolve(ctx context.Context, name string, param func(string) string) (Config, error) {
	switch file := param("ssh_config"); file {
	case "":
	case "none":
		r.ConfigFile, r.SystemConfig = "", ""
	default:
		path := r.expandHome(file)
		if _, err := os.Stat(path); err != nil {
			return Config{}, fmt.Errorf("param ssh_config: %w", err)
		}
		r.ConfigFile, r.SystemConfig = path, ""
	}
	target, err := splitTarget(name)
	if err != nil {
		return Config{}, err
	}
	target.HostName = param("ssh_address")
	target.User = orDefault(param("ssh_user"), target.User)
	numbers := map[string]int{}
	for _, key := range []string{"ssh_port", "ssh_connect_timeout", "ssh_max_sessions"} {
		v := param(key)
		if v == "" {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil || n <= 0 || key == "ssh_port" && n > 65535 {
			return Config{}, fmt.Errorf("param %s: got %q, want a positive number", key, v)
		}
		numbers[key] = n
	}
	if n := numbers["ssh_port"]; n != 0 {
		target.Port = n
	}
	c, err := r.fromFiles(ctx, target, nil)
	if err != nil {
		return Config{}, fmt.Errorf("%w (to ignore the SSH configuration files, set the param ssh_config to another file or to none)", err)
	}
	c.Name = name

	c.Password = Secret(param("ssh_password"))
	if c.Password != "" {
		c.allow("keyboard-interactive", "password")
	}
	if v := strings.Fields(param("ssh_key")); len(v) > 0 {
		c.IdentityFiles, c.IdentitiesOnly, c.CertificateFiles = r.expandHomes(v), true, nil
		for _, file := range c.IdentityFiles {
			if _, err := os.Stat(file); err != nil {
				return Config{}, fmt.Errorf("param ssh_key: %w", err)
			}
		}
		c.allow("publickey")
	}
	if v := strings.Fields(param("ssh_known_hosts")); len(v) > 0 {
		c.KnownHostsFiles, c.GlobalKnownHostsFiles = r.expandHomes(v), nil
	}
	if n := numbers["ssh_connect_timeout"]; n != 0 {
		c.ConnectTimeout = time.Duration(n) * time.Second
	}
	c.MaxSessions = numbers["ssh_max_sessions"]
	return c, nil
}

// defaultKeys are the key files that ssh tries by default.
var defaultKeys = []string{"id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"}

// fromFiles makes the Config of a target from the files. Through are the aliases
// that lead here by ProxyJump.
func (r Resolver) fromFiles(ctx context.Context, target sshconfig.Target, through []string) (Config, error) {
	if slices.Contains(through, target.Name) {
		return Config{}, fmt.Errorf("ProxyJump forms a loop: %s", strings.Join(append(through, target.Name), ", "))
	}
	files := sshconfig.Files{User: r.ConfigFile, System: r.SystemConfig, Home: r.Home, Login: r.User}
	options, err := sshconfig.Read(ctx, files, target)
	if err != nil {
		return Config{}, err
	}
	o := parser{options: options, tokens: sshconfig.NewTokens(files, target, options)}
	c := Config{
		Notices:            options.Notices,
		Name:               target.Name,
		Address:            orDefault(o.word("hostname"), strings.ToLower(target.Name)),
		Port:               o.number("port", 65535),
		AddressFamily:      o.choice("addressfamily", "any", "inet", "inet6"),
		BindAddress:        o.word("bindaddress"),
		BindInterface:      o.word("bindinterface"),
		ConnectionAttempts: o.number("connectionattempts", math.MaxInt32),
		ConnectTimeout:     o.seconds("connecttimeout"),
		User:               orDefault(o.word("user"), r.User),

		IdentityFiles:    o.expanded("identityfile"),
		CertificateFiles: o.expanded("certificatefile"),
		IdentitiesOnly:   o.flag("identitiesonly", false),
		AgentSocket:      r.agent(o.word("identityagent")),
		Authentications:  o.authentications(),
		KeyAlgorithms:    o.list("pubkeyacceptedalgorithms"),
		MinRSABits:       o.number("requiredrsasize", math.MaxInt32),

		KnownHostsFiles:       o.files("userknownhostsfile", r.KnownHosts),
		GlobalKnownHostsFiles: o.files("globalknownhostsfile", r.GlobalKnownHosts),
		HashKnownHosts:        o.flag("hashknownhosts", false),
		HostKeyAlias:          o.word("hostkeyalias"),
		HostKeys:              o.hostKeyPolicy(),
		CheckHostIP:           o.flag("checkhostip", false),
		TrustLocalhost:        o.flag("nohostauthenticationforlocalhost", false),
		HostKeyAlgorithms:     o.list("hostkeyalgorithms"),
		CAAlgorithms:          o.list("casignaturealgorithms"),

		Ciphers:        o.list("ciphers"),
		MACs:           o.list("macs"),
		KeyExchanges:   o.list("kexalgorithms"),
		NoTCPKeepAlive: !o.flag("tcpkeepalive", true),
	}
	if revoked := o.expanded("revokedhostkeys"); len(revoked) > 0 {
		c.RevokedHostKeys = revoked[0]
	}
	if options.All("identityfile") == nil {
		for _, key := range defaultKeys {
			c.IdentityFiles = append(c.IdentityFiles, filepath.Join(r.Home, ".ssh", key))
		}
	}
	if c.KeepaliveInterval = o.seconds("serveraliveinterval"); c.KeepaliveInterval > 0 {
		c.KeepaliveCount = 3 // ssh's default for the user's interval
		if n := o.number("serveralivecountmax", math.MaxInt32); n > 0 {
			c.KeepaliveCount = n
		}
	}
	if o.err != nil {
		return Config{}, fmt.Errorf("ssh_config: %w", o.err)
	}
	c.ProxyJump, err = r.jumps(ctx, o.word("proxyjump"), append(through, target.Name))
	for _, jump := range c.ProxyJump {
		for _, notice := range jump.Notices {
			if !slices.Contains(c.Notices, notice) {
				c.Notices = append(c.Notices, notice)
			}
		}
	}
	return c, err
}

// jumps makes the Configs of the hosts that the option ProxyJump names.
func (r Resolver) jumps(ctx context.Context, names string, through []string) (jumps []Config, err error) {
	if names == "" || strings.EqualFold(names, "none") {
		return nil, nil
	}
	for i, name := range strings.Split(names, ",") {
		target, err := splitTarget(strings.TrimSpace(name))
		if err != nil {
			return nil, fmt.Errorf("ProxyJump %s: %w", name, err)
		}
		j, err := r.fromFiles(ctx, target, through)
		if err != nil {
			return nil, fmt.Errorf("ProxyJump %s: %w", name, err)
		}
		j.Name = targetName(target)
		if i == 0 { // the later ones are reached through the first
			jumps = j.ProxyJump
		}
		j.ProxyJump = nil
		jumps = append(jumps, j)
	}
	return jumps, nil
}

// agent returns the socket that the option IdentityAgent names.
func (r Resolver) agent(value string) string {
	switch {
	case value == "" || value == "SSH_AUTH_SOCK":
		return r.AgentSocket
	case value == "none":
		return ""
	case strings.HasPrefix(value, "$"):
		return os.Getenv(strings.Trim(value, "${}"))
	}
	return r.expandHome(value)
}

// parser reads the values of options. err is that of the first invalid one.
type parser struct {
	options sshconfig.Options
	tokens  sshconfig.Tokens
	err     error
}

func (p *parser) bad(keyword, want string) {
	if p.err == nil {
		p.err = fmt.Errorf("%s: got %q, want %s", keyword, p.options.Get(keyword), want)
	}
}

func (p *parser) word(keyword string) string { return p.options.Get(keyword) }

// number returns a number up to limit, and 0 if there is none.
func (p *parser) number(keyword string, limit int) int {
	v := p.word(keyword)
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > limit {
		p.bad(keyword, "a number")
	}
	return n
}

func (p *parser) seconds(keyword string) time.Duration {
	if p.word(keyword) == "none" {
		return 0
	}
	return time.Duration(p.number(keyword, math.MaxInt32)) * time.Second
}

func (p *parser) flag(keyword string, byDefault bool) bool {
	switch strings.ToLower(p.word(keyword)) {
	case "":
		return byDefault
	case "yes", "true", "unbound", "host-bound": // the last two of PubkeyAuthentication
		return true
	case "no", "false":
		return false
	}
	p.bad(keyword, "yes or no")
	return byDefault
}

// choice returns one of the words, and "" for the first, ssh's default.
func (p *parser) choice(keyword string, words ...string) string {
	v := strings.ToLower(p.word(keyword))
	if v == "" || v == words[0] {
		return ""
	}
	if !slices.Contains(words, v) {
		p.bad(keyword, strings.Join(words, " or "))
	}
	return v
}

func (p *parser) list(keyword string) []string {
	if p.word(keyword) == "" {
		return nil
	}
	return strings.FieldsFunc(p.word(keyword), func(r rune) bool { return r == ',' })
}

// files returns file names with ~ expanded; ssh -G has expanded the rest.
func (p *parser) files(keyword string, byDefault []string) []string {
	names := p.options.All(keyword)
	if names == nil {
		return byDefault
	}
	var files []string
	for _, name := range names {
		if !strings.EqualFold(name, "none") {
			files = append(files, p.tokens.Home(name))
		}
	}
	return files
}

// expanded returns file names as ssh expands them.
func (p *parser) expanded(keyword string) []string {
	var files []string
	for _, name := range p.options.All(keyword) {
		if strings.EqualFold(name, "none") {
			continue
		}
		file, err := p.tokens.Expand(name)
		if err != nil && p.err == nil {
			p.err = fmt.Errorf("%s %s: %w", keyword, name, err)
		}
		files = append(files, file)
	}
	return files
}

func (p *parser) hostKeyPolicy() HostKeyPolicy {
	switch strings.ToLower(p.word("stricthostkeychecking")) {
	case "", "yes", "true", "ask": // mhmig does not ask
	case "accept-new":
		return AcceptNewHostKeys
	case "no", "false", "off":
		return AnyHostKey
	default:
		p.bad("stricthostkeychecking", "yes, ask, accept-new or no")
	}
	return StrictHostKeys
}

// authentications returns the value of Config.Authentications.
func (p *parser) authentications() []string {
	allowed := map[string]bool{
		"publickey":            p.flag("pubkeyauthentication", true),
		"keyboard-interactive": p.flag("kbdinteractiveauthentication", true),
		"password":             p.flag("passwordauthentication", true),
	}
	order := p.list("preferredauthentications")
	if order == nil {
		order = slices.Clone(authentications)
	}
	order = slices.DeleteFunc(order, func(method string) bool { return !allowed[method] })
	switch {
	case slices.Equal(order, authentications):
		return nil
	case len(order) == 0:
		return []string{"none"}
	}
	return order
}

// allow adds authentication methods that a param asks for.
func (c *Config) allow(methods ...string) {
	if len(c.Authentications) == 0 {
		return // all are allowed
	}
	for _, method := range methods {
		if !slices.Contains(c.Authentications, method) {
			c.Authentications = append(c.Authentications, method)
		}
	}
}

// splitTarget splits [ssh://][user@]host[:port]. IPv6 addresses with a port need brackets.
func splitTarget(name string) (t sshconfig.Target, err error) {
	rest := strings.TrimPrefix(name, "ssh://")
	if i := strings.LastIndex(rest, "@"); i >= 0 {
		t.User, rest = rest[:i], rest[i+1:]
	}
	t.Name = rest
	if h, p, splitErr := net.SplitHostPort(rest); splitErr == nil {
		t.Name = h
		if t.Port, err = strconv.Atoi(p); err != nil || t.Port < 1 || t.Port > 65535 {
			return t, fmt.Errorf("%q: port %q: want 1 to 65535", name, p)
		}
	}
	t.Name = strings.TrimSuffix(strings.TrimPrefix(t.Name, "["), "]")
	if t.Name == "" || strings.ContainsAny(t.Name, " \t/") || t.Name[0] == '-' {
		return t, fmt.Errorf("%q: want [user@]host[:port]", name)
	}
	return t, nil
}

// targetName is the inverse of splitTarget.
func targetName(t sshconfig.Target) string {
	name := t.Name
	if t.Port != 0 {
		name = net.JoinHostPort(name, strconv.Itoa(t.Port))
	}
	if t.User != "" {
		name = t.User + "@" + name
	}
	return name
}

func (r Resolver) expandHome(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(r.Home, rest)
	}
	return path
}

func (r Resolver) expandHomes(paths []string) []string {
	expanded := make([]string, len(paths))
	for i, path := range paths {
		expanded[i] = r.expandHome(path)
	}
	return expanded
}

func orDefault(v, def string) string {
	if v == "" {
		return def
	}
	return v
}
