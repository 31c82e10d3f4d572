package idserver

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/pquerna/otp/totp"
	"github.com/skip2/go-qrcode"
)

// restCall is one call of the REST API. It is called with the lock.
type restCall func(r *http.Request, in parametersIn) (map[string]any, error)

// parametersIn are what a call is given: in the URL, or in a body of JSON or of a form.
type parametersIn map[string]string

func (s *Server) restCalls() map[string]restCall {
	return map[string]restCall{
		"GET /rest/v2/AuthSession":                   s.restBegin,
		"GET /rest/v2/AuthSession/{id}":              s.restState,
		"DELETE /rest/v2/AuthSession/{id}":           s.restCancel,
		"GET /rest/v2/SecSignId/{name}":              s.restID,
		"POST /rest/v2/SecSignId/{$}":                s.restCreate,
		"GET /rest/v1/Device/{name}/Count":           s.restDevices,
		"GET /rest/v2/OTP":                           s.restMailCode,
		"GET /rest/v2/OTP/valid/{code}":              s.restCheckMailed,
		"GET /rest/v2/TOTP":                          s.restTOTP,
		"GET /rest/v2/TOTP/Verify/{code}":            s.restCheckTOTP,
		"GET /rest/v2/PluginRegistration/ServerInfo": s.restInfo,
		"POST /rest/v2/PluginRegistration":           s.restRegister,
		"/rest/":                                     func(*http.Request, parametersIn) (map[string]any, error) { return nil, errNoCall },
	}
}

// account wants the pin account, and writes what the call says as JSON: never an empty body.
func (s *Server) account(call restCall) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		same := func(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
		if s.options.Account == "" || !same(user, s.options.Account) || !same(password, s.options.Password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="ID server"`)
			writeJSON(w, http.StatusUnauthorized, map[string]any{"error": 401, "errormsg": "account or password is wrong"})
			return
		}
		in, err := readParameters(r)
		s.mu.Lock()
		s.note(r, r.Method+" "+r.URL.Path, in)
		var answer map[string]any
		if err == nil {
			answer, err = call(r, in)
		}
		s.mu.Unlock()
		var failed *failure
		if errors.As(err, &failed) {
			writeJSON(w, failed.status, map[string]any{"error": failed.number, "errormsg": failed.text})
			return
		}
		writeJSON(w, http.StatusOK, answer)
	}
}

// readParameters takes each name once.
func readParameters(r *http.Request) (parametersIn, error) {
	in := parametersIn{}
	add := func(values url.Values) error {
		for name, all := range values {
			if _, twice := in[name]; twice || len(all) != 1 {
				return errParameters
			}
			in[name] = all[0]
		}
		return nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errParameters
	}
	if err := add(values); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		return nil, errParameters
	}
	switch kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case kind == "application/json" && len(body) > 0:
		var fields map[string]any
		if err := json.Unmarshal(body, &fields); err != nil {
			return nil, errParameters
		}
		values = url.Values{}
		for name, value := range fields {
			values.Set(name, fmt.Sprint(value))
		}
	default: // a form, or nothing
		if values, err = url.ParseQuery(string(body)); err != nil {
			return nil, errParameters
		}
	}
	return in, add(values)
}

func writeJSON(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (s *Server) restBegin(_ *http.Request, in parametersIn) (map[string]any, error) {
	id := strings.ToLower(in["secsignid"])
	if !validID(id) || in["servicename"] == "" || in["serviceaddress"] == "" {
		return nil, errParameters
	}
	withIcon := in["showaccesspassicons"] == "true" && (in["transactiontitle"] == "" || in["transactiondescr"] == "")
	one, err := s.begin(id, in["servicename"], in["serviceaddress"], in["pluginname"], withIcon)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"authsessionid": one.ID, "secsignid": one.SecSignID}
	if one.picture != "" {
		answer["authsessionicondata"] = one.picture
	}
	return answer, nil
}

func (s *Server) restState(r *http.Request, _ parametersIn) (map[string]any, error) {
	one, err := s.session(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"authsessionstate": int(one.State)}, nil
}

func (s *Server) restCancel(r *http.Request, _ parametersIn) (map[string]any, error) {
	one, err := s.session(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if err := s.cancel(one); err != nil {
		return nil, err
	}
	return map[string]any{"authsessionstate": int(Cancelled)}, nil
}

// restID answers ?exist and ?createqrcode.
func (s *Server) restID(r *http.Request, in parametersIn) (map[string]any, error) {
	name := strings.ToLower(r.PathValue("name"))
	if !validID(name) {
		return nil, errParameters
	}
	if _, ok := in["exist"]; ok {
		return map[string]any{"exist": s.ids[name] != nil}, nil
	}
	if _, ok := in["createqrcode"]; ok {
		link := "https://id.example/create?id=" + url.QueryEscape(name)
		return map[string]any{"createurl": link, "qrcodebase64": picture(link)}, nil
	}
	return nil, errParameters
}

func (s *Server) restCreate(_ *http.Request, in parametersIn) (map[string]any, error) {
	name := strings.ToLower(in["secsignid"])
	switch {
	case !s.options.CreatesIDs:
		return nil, errRights
	case !validID(name) || in["email"] == "" || in["enable"] != "true" || s.ids[name] != nil:
		return nil, errParameters
	}
	s.ids[name] = &identity{email: in["email"]}
	link := "https://id.example/restore?id=" + url.QueryEscape(name)
	return map[string]any{"restoreurl": link, "qrcodebase64": picture(link)}, nil
}

func (s *Server) restDevices(r *http.Request, _ parametersIn) (map[string]any, error) {
	who := s.ids[strings.ToLower(r.PathValue("name"))]
	if who == nil {
		return nil, errUnknown
	}
	return map[string]any{"count": who.devices}, nil
}

func (s *Server) known(in parametersIn) (*identity, error) {
	if who := s.ids[strings.ToLower(in["secsignid"])]; who != nil {
		return who, nil
	}
	return nil, errUnknown
}

// restMailCode mails nothing: the control plane shows the code.
func (s *Server) restMailCode(_ *http.Request, in parametersIn) (map[string]any, error) {
	who, err := s.known(in)
	if err != nil {
		return nil, err
	}
	var b [3]byte
	_, _ = io.ReadFull(s.options.Random, b[:])
	who.codes = append(who.codes, fmt.Sprintf("%06d", (int(b[0])<<16|int(b[1])<<8|int(b[2]))%1_000_000))
	return map[string]any{"sent": true}, nil
}

// restCheckMailed takes each code once.
func (s *Server) restCheckMailed(r *http.Request, in parametersIn) (map[string]any, error) {
	who, err := s.known(in)
	if err != nil {
		return map[string]any{"valid": false, "exists": false}, nil
	}
	for i, code := range who.codes {
		if code == r.PathValue("code") {
			who.codes = append(who.codes[:i:i], who.codes[i+1:]...)
			return map[string]any{"valid": true, "exists": true}, nil
		}
	}
	return map[string]any{"valid": false, "exists": true}, nil
}

func (s *Server) restTOTP(_ *http.Request, in parametersIn) (map[string]any, error) {
	who, err := s.known(in)
	if err != nil {
		return nil, err
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "ID server", AccountName: in["secsignid"], Rand: s.options.Random})
	if err != nil {
		return nil, errParameters
	}
	who.seed = key.Secret()
	return map[string]any{"totp": map[string]any{"totpkeyuri": key.URL(), "totpqrcodebase64": picture(key.URL())}}, nil
}

func (s *Server) restCheckTOTP(r *http.Request, in parametersIn) (map[string]any, error) {
	who, err := s.known(in)
	if err != nil {
		return nil, err
	}
	now := s.options.Now()
	valid, _ := totp.ValidateCustom(r.PathValue("code"), who.seed, now, totp.ValidateOpts{Period: 30, Digits: 6})
	valid = valid && who.seed != "" && now.Unix()/30 > who.used
	if valid {
		who.used = now.Unix() / 30
	}
	return map[string]any{"valid": valid}, nil
}

func (s *Server) restInfo(*http.Request, parametersIn) (map[string]any, error) {
	v := s.options.Version
	return map[string]any{"majorVersion": v[0], "minorVersion": v[1], "patchVersion": v[2]}, nil
}

func (s *Server) restRegister(_ *http.Request, in parametersIn) (map[string]any, error) {
	for _, name := range []string{"url", "siteName", "pluginName", "pluginType"} {
		if in[name] == "" {
			return nil, errParameters
		}
	}
	return map[string]any{"accountName": s.options.Account, "password": s.options.Password}, nil
}

// picture is a QR code.
func picture(text string) string {
	image, err := qrcode.Encode(text, qrcode.Medium, 256)
	if err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(image)
}

// Codes are those that were mailed to an ID and not used.
func (s *Server) Codes(id string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if who := s.ids[id]; who != nil {
		return append([]string(nil), who.codes...)
	}
	return nil
}
