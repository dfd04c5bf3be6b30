// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// login offers a host our keys and passwords, and remembers for the error
// message what it offered. Like ssh, it takes the key files first, by way of the
// agent where that holds them, then the agent's other keys.
type login struct {
	config  Config
	agent   net.Conn // nil: none
	keys    []offer
	tried   []string
	skipped []string
	allowed []string
	started bool // the server has asked us to log in
}

// offer is a key and how a person would name it.
type offer struct {
	ssh.Signer
	name string
}

func newLogin(ctx context.Context, c Config) *login {
	l := &login{config: c}
	held := l.agentKeys(ctx)
	for _, file := range c.IdentityFiles {
		l.addFile(file, held)
	}
	if c.IdentitiesOnly {
		return l
	}
	for _, key := range held {
		if !l.has(key.PublicKey()) {
			l.keys = append(l.keys, key)
		}
	}
	return l
}

// close ends the connection to the agent; its keys cannot sign any more.
func (l *login) close() {
	if l.agent != nil {
		l.agent.Close()
	}
}

// agentKeys connects to the agent and returns the keys that it holds.
func (l *login) agentKeys(ctx context.Context) []offer {
	if l.config.AgentSocket == "" {
		return nil
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", l.config.AgentSocket)
	if err != nil {
		l.skipped = append(l.skipped, fmt.Sprintf("the agent's keys (%v)", err))
		return nil
	}
	l.agent = conn
	client := agent.NewClient(conn)
	signers, err := client.Signers()
	if err != nil {
		l.skipped = append(l.skipped, fmt.Sprintf("the agent's keys (%v)", err))
		return nil
	}
	held := make([]offer, len(signers))
	for i, s := range signers {
		name := "a key of the agent"
		if k, ok := s.PublicKey().(*agent.Key); ok && k.Comment != "" {
			name = "the agent's " + k.Comment
		}
		held[i] = offer{s, name}
	}
	return held
}

func (l *login) addFile(file string, held []offer) {
	pem, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		l.skipped = append(l.skipped, fmt.Sprintf("%s (%v)", file, err))
		return
	}
	signer, err := ssh.ParsePrivateKey(pem)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		public := locked.PublicKey
		if public == nil {
			public = publicHalf(file)
		}
		if i := slices.IndexFunc(held, func(o offer) bool { return public != nil && sameKey(o.PublicKey(), public) }); i >= 0 {
			l.keys = append(l.keys, offer{held[i], file + " (by the agent)"})
			return
		}
		l.skipped = append(l.skipped, fmt.Sprintf("%s (it has a passphrase and no agent holds it: run ssh-add %s)", file, file))
		return
	case err != nil:
		l.skipped = append(l.skipped, fmt.Sprintf("%s (%v)", file, err))
		return
	}
	if l.has(signer.PublicKey()) {
		return
	}
	if certified, ok := withCertificate(file, signer); ok {
		l.keys = append(l.keys, offer{certified, file + "-cert.pub"})
	}
	l.keys = append(l.keys, offer{signer, file})
}

func (l *login) has(key ssh.PublicKey) bool {
	return slices.ContainsFunc(l.keys, func(o offer) bool { return sameKey(o.PublicKey(), key) })
}

func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// publicHalf reads the public key that lies beside a private one.
func publicHalf(file string) ssh.PublicKey {
	text, err := os.ReadFile(file + ".pub")
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return key
}

func withCertificate(file string, signer ssh.Signer) (ssh.Signer, bool) {
	text, err := os.ReadFile(file + "-cert.pub")
	if err != nil {
		return nil, false
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil, false
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, false
	}
	certified, err := ssh.NewCertSigner(cert, signer)
	return certified, err == nil
}

// methods returns what to offer, in order.
func (l *login) methods() []ssh.AuthMethod {
	methods := []ssh.AuthMethod{ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
		signers := make([]ssh.Signer, len(l.keys))
		for i, k := range l.keys {
			l.tried = append(l.tried, k.name+" ("+fingerprint(k.PublicKey())+")")
			signers[i] = k.Signer
		}
		return signers, nil
	})}
	if l.config.Password == "" {
		return methods
	}
	return append(methods,
		ssh.PasswordCallback(func() (string, error) {
			l.tried = append(l.tried, "the password")
			return l.config.Password.Reveal(), nil
		}),
		ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
			l.tried = append(l.tried, "the password (keyboard-interactive)")
			answers := make([]string, len(questions))
			for i := range answers {
				answers[i] = l.config.Password.Reveal()
			}
			return answers, nil
		}))
}

// observe is an [ssh.ClientAuthCallback]: it learns what the server accepts and
// leaves the choice to the order of methods.
func (l *login) observe(auth *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	l.started, l.allowed = true, auth.AllowedMethods
	return nil, nil
}

// refused makes the error of a failed login.
func (l *login) refused(err error) *AuthError {
	return &AuthError{
		Host: l.config.Name, User: l.config.User, Endpoint: l.config.endpoint(),
		Tried: l.tried, Skipped: l.skipped, Allowed: l.allowed, Err: err,
	}
}
