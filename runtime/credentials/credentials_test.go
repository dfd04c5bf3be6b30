// SPDX-License-Identifier: Apache-2.0

package credentials_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/credentials"
)

// A handshake with the files of both ends succeeds for the name in the destination's
// certificate, and for no other.
func TestX509(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, tt := range []struct {
		name, expected string
		refused        bool
	}{
		{"192.0.2.7", "192.0.2.7", false},
		{"2001:db8::7", "2001:db8::7", false},
		{"host2.example", "host2.example", false},
		{"host2.example", "host3.example", true},
		{"192.0.2.7", "192.0.2.8", true},
	} {
		server, client, err := credentials.X509(now, tt.name)
		if err != nil {
			t.Fatal(err)
		}
		err = handshake(t, server, client, tt.expected)
		if _, wrong := errors.AsType[*tls.CertificateVerificationError](err); wrong != tt.refused || err != nil && !wrong {
			t.Errorf("%s expected as %s: got %v", tt.name, tt.expected, err)
		}
	}
}

// The destination does not accept the source of another migration.
func TestX509OfAnotherMigration(t *testing.T) {
	t.Parallel()
	server, _, err := credentials.X509(time.Now(), "host2")
	if err != nil {
		t.Fatal(err)
	}
	_, client, err := credentials.X509(time.Now(), "host2")
	if err != nil {
		t.Fatal(err)
	}
	client["ca-cert.pem"] = server["ca-cert.pem"]
	if err := handshake(t, server, client, "host2"); err == nil {
		t.Error("its certificate is accepted")
	}
}

// Clocks of hosts differ, but the credentials of a run do not stay valid.
func TestValidity(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, when := range []time.Duration{-30 * time.Hour, 9 * 24 * time.Hour} {
		server, client, err := credentials.X509(now.Add(-when), "host2")
		if err != nil {
			t.Fatal(err)
		}
		if err := handshake(t, server, client, "host2"); err == nil {
			t.Errorf("valid %v after it was made", when)
		}
	}
	for _, when := range []time.Duration{-20 * time.Hour, 6 * 24 * time.Hour} {
		server, client, err := credentials.X509(now.Add(-when), "host2")
		if err != nil {
			t.Fatal(err)
		}
		if err := handshake(t, server, client, "host2"); err != nil {
			t.Errorf("not valid %v after it was made: %v", when, err)
		}
	}
}

// handshake is that of both ends, the source being the client.
func handshake(t *testing.T, server, client credentials.Files, name string) error {
	t.Helper()
	trusted := func(f credentials.Files) *x509.CertPool {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(f["ca-cert.pem"]) {
			t.Fatal("no authority")
		}
		return pool
	}
	own := func(f credentials.Files, end string) []tls.Certificate {
		pair, err := tls.X509KeyPair(f[end+"-cert.pem"], f[end+"-key.pem"])
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{pair}
	}
	here, there := net.Pipe()
	defer here.Close()
	accepting := tls.Server(there, &tls.Config{Certificates: own(server, "server"), ClientCAs: trusted(server), ClientAuth: tls.RequireAndVerifyClientCert})
	accepted := make(chan error, 1)
	go func() {
		err := accepting.Handshake()
		if err == nil {
			_, err = accepting.Write([]byte("x"))
		}
		accepted <- err
		_ = there.Close()
	}()
	connecting := tls.Client(here, &tls.Config{Certificates: own(client, "client"), RootCAs: trusted(client), ServerName: name})
	err := connecting.Handshake()
	if err == nil {
		_, err = connecting.Read(make([]byte, 1)) // the server says here that it refuses the client
	}
	_ = here.Close()
	refused := <-accepted
	if err == nil { // else the server's error only follows from it
		err = refused
	}
	return err
}

// A PSK file has one user and a random key.
func TestPSK(t *testing.T) {
	t.Parallel()
	server, client := credentials.PSK("mhmig")
	another, _ := credentials.PSK("mhmig")
	first, second := string(server["keys.psk"]), string(another["keys.psk"])
	if first != string(client["keys.psk"]) {
		t.Error("the ends have two keys")
	}
	user, key, _ := strings.Cut(strings.TrimSpace(first), ":")
	if user != "mhmig" || len(key) != 64 || first == second {
		t.Errorf("got %q, then %q", first, second)
	}
}

// The destination has the group of RFC 7919 by which keys are agreed: a safe prime, and 2.
func TestGroup(t *testing.T) {
	t.Parallel()
	x509Server, x509Client, err := credentials.X509(time.Now(), "host2")
	if err != nil {
		t.Fatal(err)
	}
	pskServer, pskClient := credentials.PSK("mhmig")
	if x509Client["dh-params.pem"] != nil || pskClient["dh-params.pem"] != nil {
		t.Error("the source has it")
	}
	for _, server := range []credentials.Files{x509Server, pskServer} {
		block, _ := pem.Decode(server["dh-params.pem"])
		if block == nil || block.Type != "DH PARAMETERS" {
			t.Fatalf("got %q", server["dh-params.pem"])
		}
		var group struct{ Prime, Generator *big.Int }
		if rest, err := asn1.Unmarshal(block.Bytes, &group); err != nil || len(rest) != 0 {
			t.Fatal(err)
		}
		half := new(big.Int).Rsh(group.Prime, 1)
		if group.Prime.BitLen() != 2048 || !group.Prime.ProbablyPrime(10) || !half.ProbablyPrime(10) || group.Generator.Int64() != 2 {
			t.Errorf("got the prime %x and the generator %d", group.Prime, group.Generator)
		}
	}
}
