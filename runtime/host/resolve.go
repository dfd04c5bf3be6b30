// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kevinburke/ssh_config"
)

// Resolver makes Configs from SSH configuration files and params.
type Resolver struct {
	Home         string   // the folder that ~ stands for
	User         string   // the login name when nothing names one
	ConfigFiles  []string // ssh_config files, the first one wins; those that do not exist are passed over
	SystemConfig string   // read last; a mistake in it is only a notice. Empty: none
	KnownHosts   []string // the known_hosts files when nothing names some
	AgentSocket  string   // the agent when nothing names one
}

// Resolve makes the Config of the host that the user calls name, by the
// [Resolver] of the user who runs this process.
//
// Name is an alias of ~/.ssh/config, a DNS name or an IP address, as
// [user@]host[:port]. Position is the host's place among the run's hosts, from
// 1. Each of these params wins over the files when it is there with the suffix
// _hostN (N is the position) or without:
//
//	ssh_address ssh_port ssh_user ssh_password
//	ssh_key          private key files, separated by blanks; the only ones to be tried
//	ssh_known_hosts  known_hosts files, separated by blanks
//	ssh_config       an ssh_config file to read instead of the user's; "none" for no file
//	ssh_connect_timeout  seconds
//	ssh_max_sessions     what the server allows on a connection
func Resolve(name string, params map[string]string, position int) (Config, error) {
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
		Home:         home,
		User:         login,
		ConfigFiles:  []string{filepath.Join(ssh, "config")},
		SystemConfig: "/etc/ssh/ssh_config",
		KnownHosts:   []string{filepath.Join(ssh, "known_hosts"), filepath.Join(ssh, "known_hosts2"), "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"},
		AgentSocket:  os.Getenv("SSH_AUTH_SOCK"),
	}.Resolve(name, params, position)
}

// Resolve does what the function [Resolve] does, by r's files.
func (r Resolver) Resolve(name string, params map[string]string, position int) (Config, error) {
	param := func(key string) string {
		if v, ok := params[fmt.Sprintf("%s_host%d", key, position)]; ok {
			return v
		}
		return params[key]
	}
	switch file := param("ssh_config"); file {
	case "":
	case "none":
		r.ConfigFiles, r.SystemConfig = nil, ""
	default:
		path := r.expandHome(file)
		if _, err := os.Stat(path); err != nil {
			return Config{}, fmt.Errorf("resolve host %s: param ssh_config: %w", name, err)
		}
		r.ConfigFiles, r.SystemConfig = []string{path}, ""
	}
	files, err := r.parse()
	if err != nil {
		return Config{}, fmt.Errorf("resolve host %s: %w", name, err)
	}
	c, err := r.fromFiles(files, name, nil)
	if err != nil {
		return Config{}, fmt.Errorf("resolve host %s: %w", name, err)
	}
	c.Notices = files.notices

	if v := param("ssh_address"); v != "" {
		c.Address = v
	}
	if v := param("ssh_user"); v != "" {
		c.User = v
	}
	c.Password = Secret(param("ssh_password"))
	if v := strings.Fields(param("ssh_key")); len(v) > 0 {
		c.IdentityFiles, c.IdentitiesOnly = r.expandAll(v, &c), true
		for _, file := range c.IdentityFiles {
			if _, err := os.Stat(file); err != nil {
				return Config{}, fmt.Errorf("resolve host %s: param ssh_key: %w", name, err)
			}
		}
	}
	if v := strings.Fields(param("ssh_known_hosts")); len(v) > 0 {
		c.KnownHostsFiles = r.expandAll(v, &c)
	}
	numbers := []struct {
		key string
		set func(n int)
	}{
		{"ssh_port", func(n int) { c.Port = n }},
		{"ssh_connect_timeout", func(n int) { c.ConnectTimeout = time.Duration(n) * time.Second }},
		{"ssh_max_sessions", func(n int) { c.MaxSessions = n }},
	}
	for _, p := range numbers {
		v := param(p.key)
		if v == "" {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil || n <= 0 || p.key == "ssh_port" && n > 65535 {
			return Config{}, fmt.Errorf("resolve host %s: param %s: got %q, want a positive number", name, p.key, v)
		}
		p.set(n)
	}
	return c, nil
}

// settings are the parsed ssh_config files.
type settings struct {
	files   []*ssh_config.Config
	notices []string
}

func (r Resolver) parse() (*settings, error) {
	s := &settings{}
	for _, file := range r.ConfigFiles {
		if err := s.add(file); err != nil {
			return nil, fmt.Errorf("%w; to do without this file, set the param ssh_config to another one or to none", err)
		}
	}
	if r.SystemConfig != "" {
		if err := s.add(r.SystemConfig); err != nil {
			s.notices = append(s.notices, fmt.Sprintf("%v; the file is passed over", err))
		}
	}
	return s, nil
}

// add parses one file. The parser refuses conditions that we cannot judge, like
// "Match exec" and "Match user"; such blocks are passed over, with a notice.
func (s *settings) add(file string) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		words := strings.Fields(strings.Replace(line, "=", " ", 1))
		if len(words) < 2 || !strings.EqualFold(words[0], "match") {
			continue
		}
		if c := strings.ToLower(words[1]); c == "all" && len(words) == 2 || c == "host" && len(words) == 3 {
			continue
		}
		s.notices = append(s.notices, fmt.Sprintf("%s:%d: %s: mhmig does not know this condition and passes over the block", file, i+1, strings.TrimSpace(line)))
		lines[i] = "Host !*"
	}
	parsed, err := ssh_config.DecodeBytes([]byte(strings.Join(lines, "\n")))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	s.files = append(s.files, parsed)
	return nil
}

// get returns the first value of key for alias, as ssh does.
func (s *settings) get(alias, key string) string {
	for _, f := range s.files {
		if v, err := f.Get(alias, key); err == nil && v != "" {
			return v
		}
	}
	return ""
}

// all returns the values of key for alias in all files.
func (s *settings) all(alias, key string) []string {
	var values []string
	for _, f := range s.files {
		if v, err := f.GetAll(alias, key); err == nil {
			values = append(values, v...)
		}
	}
	return values
}

// fromFiles makes the Config of target, [user@]host[:port], from the files.
// Through are the aliases that led here by ProxyJump.
func (r Resolver) fromFiles(s *settings, target string, through []string) (Config, error) {
	login, alias, port, err := splitTarget(target)
	if err != nil {
		return Config{}, err
	}
	if slices.Contains(through, alias) {
		return Config{}, fmt.Errorf("ProxyJump leads in a circle: %s", strings.Join(append(through, alias), ", "))
	}
	c := Config{Name: target, Address: alias, User: login, Port: port, AgentSocket: r.AgentSocket}
	if v := s.get(alias, "HostName"); v != "" {
		c.Address = strings.ReplaceAll(v, "%h", alias)
	}
	if c.User == "" {
		c.User = orDefault(s.get(alias, "User"), r.User)
	}
	numbers := []struct {
		key string
		set func(n int)
	}{
		{"Port", func(n int) {
			if c.Port == 0 {
				c.Port = n
			}
		}},
		{"ConnectTimeout", func(n int) { c.ConnectTimeout = time.Duration(n) * time.Second }},
		{"ServerAliveInterval", func(n int) { c.KeepaliveInterval = time.Duration(n) * time.Second }},
		{"ServerAliveCountMax", func(n int) { c.KeepaliveCount = n }},
	}
	for _, k := range numbers {
		v := s.get(alias, k.key)
		if v == "" {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return Config{}, fmt.Errorf("ssh_config: %s: got %q, want a number", k.key, v)
		}
		k.set(n)
	}
	c.HostKeyAlias = s.get(alias, "HostKeyAlias")
	if c.HostKeys, err = hostKeyPolicy(s.get(alias, "StrictHostKeyChecking")); err != nil {
		return Config{}, err
	}
	c.KnownHostsFiles = r.KnownHosts
	if v := strings.Fields(s.get(alias, "UserKnownHostsFile")); len(v) > 0 {
		c.KnownHostsFiles = r.expandAll(v, &c)
	}
	c.IdentitiesOnly = strings.EqualFold(s.get(alias, "IdentitiesOnly"), "yes")
	c.IdentityFiles = r.expandAll(s.all(alias, "IdentityFile"), &c)
	if len(c.IdentityFiles) == 0 {
		for _, key := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			c.IdentityFiles = append(c.IdentityFiles, filepath.Join(r.Home, ".ssh", key))
		}
	}
	switch v := s.get(alias, "IdentityAgent"); {
	case v == "", v == "SSH_AUTH_SOCK":
	case v == "none":
		c.AgentSocket = ""
	case strings.HasPrefix(v, "$"):
		c.AgentSocket = os.Getenv(strings.Trim(v, "${}"))
	default:
		c.AgentSocket = r.expandAll([]string{v}, &c)[0]
	}
	jumps := s.get(alias, "ProxyJump")
	if v := s.get(alias, "ProxyCommand"); v != "" && !strings.EqualFold(v, "none") && jumps == "" {
		return Config{}, fmt.Errorf("ssh_config: ProxyCommand %q: mhmig cannot use it; ProxyJump does the same for most", v)
	}
	if jumps == "" || strings.EqualFold(jumps, "none") {
		return c, nil
	}
	for i, jump := range strings.Split(jumps, ",") {
		j, err := r.fromFiles(s, strings.TrimSpace(jump), append(through, alias))
		if err != nil {
			return Config{}, fmt.Errorf("ProxyJump %s: %w", jump, err)
		}
		if i == 0 { // the later ones are reached through the first one
			c.ProxyJump = j.ProxyJump
		}
		j.ProxyJump = nil
		c.ProxyJump = append(c.ProxyJump, j)
	}
	return c, nil
}

// splitTarget splits [ssh://][user@]host[:port]. IPv6 addresses with a port need brackets.
func splitTarget(target string) (login, address string, port int, err error) {
	rest := strings.TrimPrefix(target, "ssh://")
	if i := strings.LastIndex(rest, "@"); i >= 0 {
		login, rest = rest[:i], rest[i+1:]
	}
	address = rest
	if h, p, splitErr := net.SplitHostPort(rest); splitErr == nil {
		address = h
		if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
			return "", "", 0, fmt.Errorf("%q: port %q: want 1 to 65535", target, p)
		}
	}
	address = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
	if address == "" || strings.ContainsAny(address, " \t/") {
		return "", "", 0, fmt.Errorf("%q: want [user@]host[:port]", target)
	}
	return login, address, port, nil
}

func hostKeyPolicy(v string) (HostKeyPolicy, error) {
	switch strings.ToLower(v) {
	case "", "yes", "ask": // nobody is there to be asked
		return StrictHostKeys, nil
	case "accept-new":
		return AcceptNewHostKeys, nil
	case "no", "off":
		return AnyHostKey, nil
	}
	return 0, fmt.Errorf("ssh_config: StrictHostKeyChecking: got %q, want yes, ask, accept-new or no", v)
}

// expandAll resolves ~ and ssh's percent tokens in file names of c.
func (r Resolver) expandAll(files []string, c *Config) []string {
	tokens := strings.NewReplacer("%%", "%", "%d", r.Home, "%h", c.Address, "%n", c.Name, "%r", c.User, "%u", r.User)
	var expanded []string
	for _, file := range files {
		if strings.EqualFold(file, "none") {
			continue
		}
		expanded = append(expanded, r.expandHome(tokens.Replace(strings.Trim(file, `"`))))
	}
	return expanded
}

func (r Resolver) expandHome(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(r.Home, rest)
	}
	return path
}

func orDefault(v, def string) string {
	if v == "" {
		return def
	}
	return v
}
