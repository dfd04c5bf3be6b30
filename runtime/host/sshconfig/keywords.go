// SPDX-License-Identifier: Apache-2.0

package sshconfig

// effect is how mhmig treats an option that is not at ssh's default.
type effect int

const (
	supported    effect = iota // mhmig does the same as ssh
	ignored                    // it has no effect on address, user, and keys
	warned                     // mhmig ignores it with a warning
	rejected                   // without it the connection would differ from ssh's
	needsOpenSSH               // only ssh -G can evaluate it; rejected without ssh
)

// kind is how the value of an option is written.
type kind int

const (
	word     kind = iota // one word
	files                // words, each a file name
	repeated             // one word, may be given several times
	number
	seconds // a number of seconds, or with units: 1m30s
	flag    // yes, no or a word like them
	list    // names, separated by commas
	anyText // anything
)

// keyword describes an option.
type keyword struct {
	kind   kind
	effect effect
	why    string // it is warned about or rejected
}

// keywords are OpenSSH's options, by their names in lower case.
var keywords = map[string]keyword{
	// where
	"host":                        {word, supported, ""}, // of ssh -G: the name that was asked for
	"hostname":                    {word, supported, ""},
	"port":                        {number, supported, ""},
	"addressfamily":               {word, supported, ""},
	"bindaddress":                 {word, supported, ""},
	"bindinterface":               {word, supported, ""},
	"connectionattempts":          {number, supported, ""},
	"connecttimeout":              {seconds, supported, ""},
	"proxyjump":                   {word, supported, ""},
	"proxycommand":                {anyText, rejected, "mhmig does not support ProxyCommand; use ProxyJump"},
	"proxyusefdpass":              {flag, ignored, ""},    // says how ProxyCommand is used
	"canonicaldomains":            {anyText, ignored, ""}, // say how CanonicalizeHostname is done
	"canonicalizefallbacklocal":   {flag, ignored, ""},
	"canonicalizehostname":        {word, needsOpenSSH, "can only be evaluated by OpenSSH's client"},
	"canonicalizemaxdots":         {number, ignored, ""},
	"canonicalizepermittedcnames": {anyText, needsOpenSSH, "can only be evaluated by OpenSSH's client"},
	"refuseconnection":            {anyText, rejected, "the configuration refuses the connection"},

	// user and keys
	"user":                         {word, supported, ""},
	"identityfile":                 {repeated, supported, ""},
	"certificatefile":              {repeated, supported, ""},
	"identitiesonly":               {flag, supported, ""},
	"identityagent":                {word, supported, ""},
	"pubkeyauthentication":         {word, supported, ""},
	"passwordauthentication":       {flag, supported, ""},
	"kbdinteractiveauthentication": {flag, supported, ""},
	"preferredauthentications":     {list, supported, ""},
	"pubkeyacceptedalgorithms":     {list, supported, ""},
	"requiredrsasize":              {number, supported, ""},
	"gssapiauthentication":         {flag, ignored, ""}, // the error of a failed login names it
	"gssapiclientidentity":         {word, ignored, ""},
	"gssapidelegatecredentials":    {flag, ignored, ""},
	"gssapikexalgorithms":          {list, ignored, ""},
	"gssapikeyexchange":            {flag, warned, "mhmig does not support GSSAPI"},
	"gssapirenewalforcesrekey":     {flag, ignored, ""},
	"gssapiserveridentity":         {word, ignored, ""},
	"gssapitrustdns":               {flag, ignored, ""},
	"hostbasedauthentication":      {flag, warned, "mhmig does not support host-based authentication"},
	"hostbasedacceptedalgorithms":  {list, ignored, ""},
	"pkcs11provider":               {word, warned, "mhmig does not support PKCS#11 providers; add the keys to an agent"},
	"securitykeyprovider":          {word, ignored, ""}, // keys that need it are reported
	"addkeystoagent":               {anyText, ignored, ""},
	"forwardagent":                 {word, ignored, ""},
	"batchmode":                    {flag, ignored, ""},
	"numberofpasswordprompts":      {number, ignored, ""},

	// host keys
	"hostkeyalias":                     {word, supported, ""},
	"userknownhostsfile":               {files, supported, ""},
	"globalknownhostsfile":             {files, supported, ""},
	"stricthostkeychecking":            {word, supported, ""},
	"checkhostip":                      {flag, supported, ""},
	"hashknownhosts":                   {flag, supported, ""},
	"nohostauthenticationforlocalhost": {flag, supported, ""},
	"revokedhostkeys":                  {word, supported, ""},
	"hostkeyalgorithms":                {list, supported, ""},
	"casignaturealgorithms":            {list, supported, ""},
	"knownhostscommand":                {anyText, rejected, "mhmig does not support KnownHostsCommand; write the host keys into a known_hosts file"},
	"verifyhostkeydns":                 {word, warned, "mhmig does not look up host keys in DNS"},
	"updatehostkeys":                   {word, ignored, ""},

	// how
	"ciphers":             {list, supported, ""},
	"macs":                {list, supported, ""},
	"kexalgorithms":       {list, supported, ""},
	"tcpkeepalive":        {flag, supported, ""},
	"serveraliveinterval": {seconds, supported, ""},
	"serveralivecountmax": {number, supported, ""},

	// sessions, messages, files that only ssh writes
	"channeltimeout":          {anyText, ignored, ""},
	"clearallforwardings":     {flag, ignored, ""},
	"compression":             {flag, ignored, ""},
	"controlmaster":           {word, ignored, ""},
	"controlpath":             {anyText, ignored, ""},
	"controlpersist":          {word, ignored, ""},
	"dynamicforward":          {anyText, ignored, ""},
	"enableescapecommandline": {flag, ignored, ""},
	"enablesshkeysign":        {flag, ignored, ""},
	"escapechar":              {word, ignored, ""},
	"exitonforwardfailure":    {flag, ignored, ""},
	"fingerprinthash":         {word, ignored, ""},
	"forkafterauthentication": {flag, ignored, ""},
	"forwardx11":              {flag, ignored, ""},
	"forwardx11timeout":       {seconds, ignored, ""},
	"forwardx11trusted":       {flag, ignored, ""},
	"gatewayports":            {flag, ignored, ""},
	"ignoreunknown":           {anyText, ignored, ""},
	"ipqos":                   {anyText, ignored, ""},
	"kbdinteractivedevices":   {word, ignored, ""},
	"localcommand":            {anyText, ignored, ""},
	"localforward":            {anyText, ignored, ""},
	"loglevel":                {word, ignored, ""},
	"logverbose":              {anyText, ignored, ""},
	"obscurekeystroketiming":  {anyText, ignored, ""},
	"permitlocalcommand":      {flag, ignored, ""},
	"permitremoteopen":        {anyText, ignored, ""},
	"rekeylimit":              {anyText, ignored, ""},
	"remotecommand":           {anyText, ignored, ""},
	"remoteforward":           {anyText, ignored, ""},
	"requesttty":              {word, ignored, ""},
	"sendenv":                 {anyText, ignored, ""},
	"sessiontype":             {word, ignored, ""},
	"setenv":                  {anyText, ignored, ""},
	"stdinnull":               {flag, ignored, ""},
	"streamlocalbindmask":     {word, ignored, ""},
	"streamlocalbindunlink":   {flag, ignored, ""},
	"syslogfacility":          {word, ignored, ""},
	"tag":                     {word, ignored, ""}, // only used by Match
	"tunnel":                  {word, ignored, ""},
	"tunneldevice":            {word, ignored, ""},
	"versionaddendum":         {anyText, ignored, ""},
	"visualhostkey":           {flag, ignored, ""},
	"warnweakcrypto":          {anyText, ignored, ""},
	"xauthlocation":           {word, ignored, ""},
}

// aliases are obsolete names of options that ssh still accepts.
var aliases = map[string]string{
	"challengeresponseauthentication": "kbdinteractiveauthentication",
	"hostbasedkeytypes":               "hostbasedacceptedalgorithms",
	"identityfile2":                   "identityfile",
	"keepalive":                       "tcpkeepalive",
	"pubkeyacceptedkeytypes":          "pubkeyacceptedalgorithms",
	"skeyauthentication":              "kbdinteractiveauthentication",
	"smartcarddevice":                 "pkcs11provider",
	"tisauthentication":               "kbdinteractiveauthentication",
	"dsaauthentication":               "pubkeyauthentication",
}
