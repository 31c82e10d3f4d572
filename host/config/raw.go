package config

import (
	"reflect"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// The raw structs are the file as it is written; pointers are nil where a line is not there.
// Their Body finds the place of an attribute for messages.

type rawConfig struct {
	Server          *rawServer          `hcl:"server,block"`
	Services        []rawService        `hcl:"service,block"`
	Authentications []rawAuthentication `hcl:"authentication,block"`
	Groups          []rawGroup          `hcl:"group,block"`
	Passwords       *rawPasswords       `hcl:"password_policy,block"`
	Attempts        *rawAttempts        `hcl:"attempts,block"`
	Approvals       *rawApprovals       `hcl:"approvals,block"`
	Events          *rawEvents          `hcl:"events,block"`
	Mail            *rawMail            `hcl:"mail,block"`
	Metrics         *rawMetrics         `hcl:"metrics,block"`
	Body            hcl.Body            `hcl:",body"`
}

type rawServer struct {
	Name            *string  `hcl:"name"`
	Description     *string  `hcl:"description"`
	DataDir         *string  `hcl:"data_dir"`
	Authentications []string `hcl:"authentications,optional"`
	ShutdownTimeout *string  `hcl:"shutdown_timeout"`
	MinFree         *string  `hcl:"min_free"`
	Body            hcl.Body `hcl:",body"`
}

type rawService struct {
	Kind            string    `hcl:"kind,label"`
	Name            string    `hcl:"name,label"`
	Listen          *string   `hcl:"listen"`
	TLS             *string   `hcl:"tls"`
	Certificate     *string   `hcl:"certificate"`
	PrivateKey      *string   `hcl:"private_key"`
	PassivePorts    *string   `hcl:"passive_ports"`
	Authentications []string  `hcl:"authentications,optional"`
	LoginTimeout    *string   `hcl:"login_timeout"`
	IdleTimeout     *string   `hcl:"idle_timeout"`
	AtomicUpload    *bool     `hcl:"atomic_upload"`
	SyncUploads     *bool     `hcl:"sync_uploads"`
	Umask           *string   `hcl:"umask"`
	MaxPath         *int      `hcl:"max_path_length"`
	MaxConnections  *int      `hcl:"max_connections"`
	MaxPerSource    *int      `hcl:"max_connections_per_source"`
	SessionReuse    *string   `hcl:"session_reuse"`
	MaxPerAccount   *int      `hcl:"max_sessions_per_account"`
	PublicAddress   []string  `hcl:"public_address,optional"`
	TimeToLogin     *string   `hcl:"time_to_login"`
	SNI             []rawSNI  `hcl:"sni,block"`
	ClientCerts     *string   `hcl:"client_certificates"`
	ClientCA        *string   `hcl:"client_ca"`
	ClientCRL       []string  `hcl:"client_crl,optional"`
	TimeToSecure    *string   `hcl:"time_to_secure"`
	TimeToCommand   *string   `hcl:"time_to_first_command"`
	CommandRate     *int      `hcl:"max_commands_per_second"`
	DataConnect     *string   `hcl:"data_connect_timeout"`
	DataIdle        *string   `hcl:"data_idle_timeout"`
	FileDigests     *string   `hcl:"file_digests"`
	Range           hcl.Range `hcl:",def_range"`
	Body            hcl.Body  `hcl:",body"`
}

type rawSNI struct {
	Certificate string    `hcl:"certificate"`
	PrivateKey  string    `hcl:"private_key"`
	Range       hcl.Range `hcl:",def_range"`
	Body        hcl.Body  `hcl:",body"`
}

type rawAuthentication struct {
	ID                   string         `hcl:"id,label"`
	Name                 *string        `hcl:"name"`
	Plugin               *string        `hcl:"plugin"`
	SHA256               *string        `hcl:"sha256"`
	Enabled              *bool          `hcl:"enabled"`
	Timeout              *string        `hcl:"timeout"`
	Settings             *hcl.Attribute `hcl:"settings"`
	TestAtStart          *bool          `hcl:"test_at_start"`
	Debug                *bool          `hcl:"debug"`
	SecondFactor         []string       `hcl:"second_factor,optional"`
	SecondFactorRequired *bool          `hcl:"second_factor_required"`
	Remember             *string        `hcl:"remember"`
	Linger               *string        `hcl:"linger"`
	OnOtherSource        *string        `hcl:"on_other_source"`
	OnReject             *string        `hcl:"on_reject"`
	OnFailure            *string        `hcl:"on_failure"`
	Grant                *rawGrant      `hcl:"grant,block"`
	Secrets              []rawSecret    `hcl:"secret,block"`
	Limits               *rawLimits     `hcl:"limits,block"`
	Range                hcl.Range      `hcl:",def_range"`
	Body                 hcl.Body       `hcl:",body"`
}

type rawGrant struct {
	Password   *bool    `hcl:"password"`
	Groups     []string `hcl:"groups,optional"`
	HomeUnder  *string  `hcl:"home_under"`
	Accounts   []string `hcl:"accounts,optional"`
	HTTP       []string `hcl:"http,optional"`
	Network    []string `hcl:"network,optional"`
	PasswordTo []string `hcl:"password_to,optional"`
	CA         *string  `hcl:"ca"`
	Body       hcl.Body `hcl:",body"`
}

type rawSecret struct {
	Name  string    `hcl:"name,label"`
	Value string    `hcl:"value"`
	To    []string  `hcl:"to"`
	Range hcl.Range `hcl:",def_range"`
	Body  hcl.Body  `hcl:",body"`
}

type rawLimits struct {
	Module      *string  `hcl:"module"`
	Function    *string  `hcl:"function"`
	Memory      *string  `hcl:"memory"`
	Table       *int     `hcl:"table"`
	Run         *string  `hcl:"run"`
	Runs        *int     `hcl:"runs"`
	Recorded    *string  `hcl:"recorded"`
	Request     *string  `hcl:"request"`
	Response    *string  `hcl:"response"`
	HTTPTimeout *string  `hcl:"http_timeout"`
	Requests    *int     `hcl:"requests"`
	Instances   *int     `hcl:"instances"`
	Sockets     *int     `hcl:"sockets"`
	LogLines    *int     `hcl:"log_lines"`
	Body        hcl.Body `hcl:",body"`
}

type rawGroup struct {
	Name        string      `hcl:"name,label"`
	Home        *string     `hcl:"home"`
	CreateHome  *bool       `hcl:"create_home"`
	Permissions []string    `hcl:"permissions,optional"`
	Paths       []rawPath   `hcl:"path,block"`
	Folders     []rawFolder `hcl:"virtual_folder,block"`

	AllowOwnPasswordChange *bool         `hcl:"allow_own_password_change"`
	UploadRate             *string       `hcl:"max_upload_rate"`
	DownloadRate           *string       `hcl:"max_download_rate"`
	MaxBytes               *string       `hcl:"max_bytes"`
	MaxFiles               *int          `hcl:"max_files"`
	Passwords              *rawPasswords `hcl:"password_policy,block"`

	Range hcl.Range `hcl:",def_range"`
	Body  hcl.Body  `hcl:",body"`
}

type rawPath struct {
	Expression  string    `hcl:"expression,label"`
	Permissions []string  `hcl:"permissions"`
	Range       hcl.Range `hcl:",def_range"`
	Body        hcl.Body  `hcl:",body"`
}

type rawFolder struct {
	Path  string    `hcl:"path,label"`
	Real  string    `hcl:"real"`
	Range hcl.Range `hcl:",def_range"`
	Body  hcl.Body  `hcl:",body"`
}

type rawPasswords struct {
	MinimumLength         *int     `hcl:"minimum_length"`
	MinimumStrength       *int     `hcl:"minimum_strength"`
	MaximumLength         *int     `hcl:"maximum_length"`
	CharacterRequirements []string `hcl:"character_requirements,optional"`
	Forbidden             []string `hcl:"forbidden,optional"`
	History               *int     `hcl:"history"`
	Lifetime              *string  `hcl:"lifetime"`
	HashingScheme         *string  `hcl:"hashing_scheme"`
	HashingCost           *int     `hcl:"hashing_cost"`
	Body                  hcl.Body `hcl:",body"`
}

type rawAttempts struct {
	PerAccount *int     `hcl:"per_account"`
	PerSource  *int     `hcl:"per_source"`
	Window     *string  `hcl:"window"`
	Lock       *string  `hcl:"lock"`
	Sources    []string `hcl:"sources,optional"`
	Body       hcl.Body `hcl:",body"`
}

type rawApprovals struct {
	PerPerson *int     `hcl:"per_person"`
	Window    *string  `hcl:"window"`
	Pause     *string  `hcl:"pause"`
	Body      hcl.Body `hcl:",body"`
}

type rawEvents struct {
	Listen       *string         `hcl:"listen"`
	Certificate  *string         `hcl:"certificate"`
	PrivateKey   *string         `hcl:"private_key"`
	Retention    *string         `hcl:"retention"`
	Size         *string         `hcl:"size"`
	Required     *bool           `hcl:"required"`
	UnknownNames *bool           `hcl:"unknown_names"`
	Users        []rawEventsUser `hcl:"user,block"`
	Forward      *rawForward     `hcl:"forward,block"`
	Body         hcl.Body        `hcl:",body"`
}

type rawEventsUser struct {
	Name     string    `hcl:"name,label"`
	Key      string    `hcl:"key"`
	Subjects []string  `hcl:"subjects,optional"`
	Range    hcl.Range `hcl:",def_range"`
	Body     hcl.Body  `hcl:",body"`
}

type rawForward struct {
	URL  string   `hcl:"url"`
	Seed *string  `hcl:"seed"`
	User *string  `hcl:"user"`
	Pass *string  `hcl:"password"`
	CA   *string  `hcl:"ca"`
	Body hcl.Body `hcl:",body"`
}

type rawMetrics struct {
	Listen string   `hcl:"listen"`
	Body   hcl.Body `hcl:",body"`
}

type rawMail struct {
	Server     string   `hcl:"server"`
	TLS        *string  `hcl:"tls"`
	User       *string  `hcl:"user"`
	Password   *string  `hcl:"password"`
	From       string   `hcl:"from"`
	CA         *string  `hcl:"ca"`
	Timeout    *string  `hcl:"timeout"`
	Invitation *string  `hcl:"invitation"`
	LoginAt    string   `hcl:"login_at"`
	Body       hcl.Body `hcl:",body"`
}

// schemas lists the names that each kind of block may hold, for messages. The key "" is the file itself.
func schemas() map[string][]string {
	found := map[string][]string{}
	var walk func(block string, t reflect.Type)
	walk = func(block string, t reflect.Type) {
		for field := range t.Fields() {
			name, kind, _ := strings.Cut(field.Tag.Get("hcl"), ",")
			if name == "" || kind == "label" {
				continue
			}
			found[block] = append(found[block], name)
			if kind == "block" {
				inner := field.Type.Elem()
				walk(strings.TrimPrefix(block+"."+name, "."), inner)
			}
		}
	}
	walk("", reflect.TypeFor[rawConfig]())
	return found
}
