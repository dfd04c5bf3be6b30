// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// authentications are the authentication methods, in ssh's order.
var authentications = []string{"publickey", "keyboard-interactive", "password"}

// login offers a host our keys and passwords, and records what it offered for the
// error message. The keys are in ssh's order: certificates that the user names,
// keys of the user's files that the agent holds, the agent's other keys, and key
// files that the agent does not hold.
type login struct {
	config  Config
	log     *slog.Logger
	agent   net.Conn // nil: none
	keys    []offer
	tried   []string
	skipped []string
	allowed []string
	used    Login // the last one that the server was given
	started bool  // authentication has started
	unsafe  bool  // the host may be a different one: it gets no password
}

// Login is how mhmig has logged in to a host.
type Login struct {
	// Method is publickey, password or keyboard-interactive; empty: the server wants
	// none, or a kind of key whose use is not noted.
	Method string
	Key    string // which key, for messages; empty: none
}

// offer is a key and its name for messages.
type offer struct {
	ssh.Signer
	name string
}

// identity is the key of an IdentityFile.
type identity struct {
	file   string
	public ssh.PublicKey // nil: unknown until the private key is read
}

func newLogin(ctx context.Context, c Config, log *slog.Logger) *login {
	l := &login{config: c, log: log}
	if !slices.Contains(c.methods(), "publickey") {
		return l
	}
	held := l.agentKeys(ctx)
	identities := l.identities()
	var wanted, others []offer // of the agent
	for _, key := range held {
		if i := slices.IndexFunc(identities, func(id identity) bool { return id.public != nil && sameKey(id.public, key.PublicKey()) }); i >= 0 {
			wanted = append(wanted, offer{key.Signer, identities[i].file + " (by the agent)"})
			identities = slices.DeleteFunc(identities, func(id identity) bool { return id.public != nil && sameKey(id.public, key.PublicKey()) })
		} else if !c.IdentitiesOnly {
			others = append(others, key)
		}
	}
	var read []offer // of files
	for _, id := range identities {
		if key, ok := l.load(id, wanted); ok {
			read = append(read, key)
		}
	}
	all := slices.Concat(wanted, others, read)
	for _, o := range append(l.certificates(all), all...) {
		if signer, ok := l.restrict(o); ok && !l.has(o.PublicKey()) {
			l.keys = append(l.keys, offer{signer, o.name})
		}
	}
	return l
}

// skip records why a key is not offered.
func (l *login) skip(name, why string) {
	l.skipped = append(l.skipped, fmt.Sprintf("%s (%s)", name, why))
}

// identities returns the keys of the user's key files, each followed by its
// certificate, unless the user names certificates.
func (l *login) identities() (all []identity) {
	for _, file := range l.config.IdentityFiles {
		all = append(all, identity{file, publicKeyOf(file)})
		if len(l.config.CertificateFiles) > 0 {
			continue
		}
		if cert, _ := readCertificate(file + "-cert"); cert != nil {
			all = append(all, identity{file, cert})
		} else if cert, _ := readCertificate(file + "-cert.pub"); cert != nil {
			all = append(all, identity{file, cert})
		}
	}
	return all
}

// certificates returns the certificates that the user names, with the private
// keys among all.
func (l *login) certificates(all []offer) (certified []offer) {
	for _, file := range l.config.CertificateFiles {
		cert, err := readCertificate(file)
		if err != nil {
			l.skip(file, err.Error())
			continue
		}
		i := slices.IndexFunc(all, func(o offer) bool { return sameKey(o.PublicKey(), cert.Key) })
		if i < 0 {
			l.skip(file, "no key file and no agent has its private key")
			continue
		}
		if signer, err := ssh.NewCertSigner(cert, all[i].Signer); err != nil {
			l.skip(file, err.Error())
		} else {
			certified = append(certified, offer{signer, file})
		}
	}
	return certified
}

// restrict limits a key to the signature algorithms that the user allows. It
// reports false for a key that must not be offered.
func (l *login) restrict(o offer) (ssh.Signer, bool) {
	key := o.PublicKey()
	if k, ok := key.(*agent.Key); ok {
		parsed, err := ssh.ParsePublicKey(k.Blob)
		if err != nil {
			l.skip(o.name, err.Error())
			return nil, false
		}
		key = parsed
	}
	if tooShort(key, l.config.MinRSABits) {
		l.skip(o.name, fmt.Sprintf("shorter than RequiredRSASize %d", l.config.MinRSABits))
		return nil, false
	}
	underlying := key.Type()
	if cert, ok := key.(*ssh.Certificate); ok {
		underlying = cert.Key.Type()
	}
	algorithms := []string{underlying}
	if underlying == ssh.KeyAlgoRSA {
		algorithms = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	if allowed := l.config.KeyAlgorithms; len(allowed) > 0 {
		if underlying == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSA)
		}
		suffix := strings.TrimPrefix(key.Type(), underlying) // of certificates
		algorithms = slices.DeleteFunc(algorithms, func(a string) bool { return !slices.Contains(allowed, a+suffix) })
		if len(algorithms) == 0 {
			l.skip(o.name, "PubkeyAcceptedAlgorithms does not include "+key.Type())
			return nil, false
		}
	}
	if signer, ok := o.Signer.(ssh.AlgorithmSigner); ok {
		if restricted, err := ssh.NewSignerWithAlgorithms(signer, algorithms); err == nil {
			return restricted, true
		}
	}
	return o.Signer, true
}

// tooShort reports whether a key is an RSA key of fewer bits.
func tooShort(key ssh.PublicKey, bits int) bool {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	if k, ok := key.(ssh.CryptoPublicKey); ok {
		if k, ok := k.CryptoPublicKey().(*rsa.PublicKey); ok {
			return k.N.BitLen() < bits
		}
	}
	return false
}

// close closes the connection to the agent; its keys can no longer sign.
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
		l.skip("the agent's keys", err.Error())
		return nil
	}
	l.agent = conn
	client := agent.NewClient(conn)
	signers, err := client.Signers()
	if err != nil {
		l.skip("the agent's keys", err.Error())
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

// load reads the private key of an identity that the agent does not hold.
func (l *login) load(id identity, held []offer) (key offer, ok bool) {
	cert, _ := id.public.(*ssh.Certificate)
	if cert != nil {
		if i := slices.IndexFunc(held, func(o offer) bool { return sameKey(o.PublicKey(), cert.Key) }); i >= 0 {
			signer, err := ssh.NewCertSigner(cert, held[i].Signer)
			return offer{signer, id.file + "-cert.pub"}, err == nil
		}
	}
	info, err := os.Stat(id.file)
	if errors.Is(err, fs.ErrNotExist) {
		if id.public != nil && cert == nil {
			l.skip(id.file, "only the public key is here, and no agent holds the private key")
		}
		return offer{}, false
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(id.file)
	}
	if err != nil {
		l.skip(id.file, err.Error())
		return offer{}, false
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) == os.Getuid() && info.Mode().Perm()&0o077 != 0 && isPrivateKey(text) {
		why := fmt.Sprintf("its permissions %04o are too open, so it is not used, as with ssh: run chmod 600 %s", info.Mode().Perm(), id.file)
		l.skip(id.file, why)
		l.log.Warn("an SSH key is not used", "file", id.file, "reason", why)
		return offer{}, false
	}
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		l.skip(id.file, "it has a passphrase and no agent holds it: run ssh-add "+id.file)
		return offer{}, false
	case err != nil && id.public != nil && !isPrivateKey(text):
		l.skip(id.file, "only the public key is here, and no agent holds the private key")
		return offer{}, false
	case err != nil:
		l.skip(id.file, err.Error())
		return offer{}, false
	case cert != nil:
		signer, err = ssh.NewCertSigner(cert, signer)
		return offer{signer, id.file + "-cert.pub"}, err == nil
	case id.public != nil && !sameKey(id.public, signer.PublicKey()):
		l.skip(id.file, "the public key in "+id.file+".pub does not belong to it")
		return offer{}, false
	}
	return offer{signer, id.file}, true
}

func isPrivateKey(text []byte) bool { return bytes.Contains(text, []byte("PRIVATE KEY-----")) }

func (l *login) has(key ssh.PublicKey) bool {
	return slices.ContainsFunc(l.keys, func(o offer) bool { return sameKey(o.PublicKey(), key) })
}

func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// publicKeyOf finds the public key of a key file as ssh does: the file is a public
// key itself, FILE.pub is there, or the private key's format includes it. It
// returns nil if the private key must be decrypted first.
func publicKeyOf(file string) ssh.PublicKey {
	for _, name := range []string{file, file + ".pub"} {
		if key := readPublic(name); key != nil {
			return key
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return locked.PublicKey
	}
	if err != nil {
		return nil
	}
	return signer.PublicKey()
}

// readPublic reads a file that holds a public key, and returns nil if it does not.
func readPublic(file string) ssh.PublicKey {
	text, err := os.ReadFile(file)
	if err != nil || isPrivateKey(text) {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return key
}

// readCertificate reads a file with a user certificate.
func readCertificate(file string) (*ssh.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil, err
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok || cert.CertType != ssh.UserCert {
		return nil, errors.New("not a user certificate")
	}
	return cert, nil
}

// methods returns the authentication methods that the user allows, in order.
func (c Config) methods() []string {
	if len(c.Authentications) == 0 {
		return authentications
	}
	return c.Authentications
}

// errUnsafe is why a host that may be a different one gets no password.
var errUnsafe = errors.New("its host key has changed or is revoked")

// methods returns what to offer, in order.
func (l *login) methods() (methods []ssh.AuthMethod) {
	for _, name := range l.config.methods() {
		switch {
		case name == "publickey":
			methods = append(methods, ssh.PublicKeysCallback(l.offerKeys))
		case l.config.Password == "":
		case name == "keyboard-interactive":
			methods = append(methods, ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
				password, err := l.usePassword("the password (keyboard-interactive)", name)
				answers := make([]string, len(questions))
				for i := range answers {
					answers[i] = password
				}
				return answers, err
			}))
		case name == "password":
			methods = append(methods, ssh.PasswordCallback(func() (string, error) { return l.usePassword("the password", name) }))
		}
	}
	return methods
}

func (l *login) offerKeys() ([]ssh.Signer, error) {
	signers := make([]ssh.Signer, len(l.keys))
	for i, k := range l.keys {
		l.tried = append(l.tried, k.name+" ("+fingerprint(k.PublicKey())+")")
		signers[i] = l.noting(k)
	}
	return signers, nil
}

// noting is the key's signer, which notes that it has signed: it only does when the
// server has accepted the key.
func (l *login) noting(key offer) ssh.Signer {
	signer, ok := key.Signer.(ssh.MultiAlgorithmSigner)
	if !ok {
		return key.Signer
	}
	return notingSigner{signer, func() { l.used = Login{Method: "publickey", Key: key.name} }}
}

// notingSigner calls signs before it signs.
type notingSigner struct {
	ssh.MultiAlgorithmSigner
	signs func()
}

// SignWithAlgorithm signs data.
func (s notingSigner) SignWithAlgorithm(random io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	s.signs()
	return s.MultiAlgorithmSigner.SignWithAlgorithm(random, data, algorithm)
}

func (l *login) usePassword(as, method string) (string, error) {
	if l.unsafe {
		l.skip(as, errUnsafe.Error())
		return "", errUnsafe
	}
	l.tried = append(l.tried, as)
	l.used = Login{Method: method}
	return l.config.Password.Reveal(), nil
}

// authCallback is an [ssh.ClientAuthCallback]: it records which methods the server
// accepts, and leaves the choice to the order of methods.
func (l *login) authCallback(auth *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	l.started, l.allowed = true, auth.AllowedMethods
	return nil, nil
}

// authError makes the error of a failed login.
func (l *login) authError(err error) *AuthError {
	for _, method := range []string{"gssapi-with-mic", "hostbased"} {
		if slices.Contains(l.allowed, method) {
			l.skip(method, "not supported by mhmig")
		}
	}
	return &AuthError{
		Host: l.config.Name, User: l.config.User, Endpoint: l.config.endpoint(),
		Tried: l.tried, Skipped: l.skipped, Allowed: l.allowed, Err: err,
	}
}
