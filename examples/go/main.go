// A site in Go with scan-to-login: scan, verify, a session of its own, log-out.
//
//	SCANPUSH_URL=http://127.0.0.1:8888 go run .        # then open http://127.0.0.1:3000
//
// scanpush must know the site: SCANPUSH_SERVER__ALLOWED_ORIGINS=http://127.0.0.1:3000 scripts/run
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"html/template"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

const cookieName, sessionLife = "session", 8 * time.Hour

var (
	scanpushURL = cmp.Or(os.Getenv("SCANPUSH_URL"), "http://127.0.0.1:8888")
	// The server's public_url once that is set; without one it says "scanpush".
	issuer = cmp.Or(os.Getenv("SCANPUSH_ISSUER"), "scanpush")
	port   = cmp.Or(os.Getenv("PORT"), "3000")
	secure = os.Getenv("SITE_HTTPS") != ""
)

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>A site in Go</title>
{{if .User}}
<p>Hello, {{.User}}.</p>
<form method="post" action="/logout"><button>Log out</button></form>
{{else}}
<script type="module" src="{{.ScanpushURL}}/static/scan-login.js"></script>
<scan-login></scan-login>
<script type="module">
document.querySelector("scan-login").addEventListener("login", async ({ detail }) => {
  const headers = { Authorization: "Bearer " + detail.token };
  if ((await fetch("/session", { method: "POST", headers })).ok) location.reload();
});
</script>
{{end}}</html>
`))

type session struct {
	user string
	ends time.Time
}

// Sessions of this process; a database keeps those of a real site.
var (
	lock     sync.Mutex
	sessions = map[string]session{}
)

// The id of the user whose session the cookie names; "" for everyone else.
func user(r *http.Request) string {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	lock.Lock()
	defer lock.Unlock()
	if found := sessions[cookie.Value]; time.Now().Before(found.ends) {
		return found.user
	}
	delete(sessions, cookie.Value)
	return ""
}

func setCookie(w http.ResponseWriter, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, MaxAge: int(life.Seconds()), Path: "/",
		HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode,
	})
}

func main() {
	// Fetches the keys, again every hour, and for a token of a new key: at most once in five minutes.
	keys, err := keyfunc.NewDefaultCtx(context.Background(), []string{scanpushURL + "/.well-known/jwks.json"})
	if err != nil {
		log.Fatal(err)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(issuer),
		jwt.WithAudience("scanpush"), jwt.WithExpirationRequired(), jwt.WithLeeway(time.Minute))
	verify := func(token string) (string, error) {
		claims := jwt.MapClaims{}
		parsed, err := parser.ParseWithClaims(token, claims, keys.Keyfunc)
		if err != nil {
			return "", err
		}
		if parsed.Header["typ"] != "JWT" || claims["account"] == nil {
			return "", errors.New("not a login token")
		}
		return claims.GetSubject()
	}

	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if err := page.Execute(w, map[string]string{"User": user(r), "ScanpushURL": scanpushURL}); err != nil {
			log.Print(err)
		}
	})
	// The token comes in a header that no other site can make a browser send here.
	http.HandleFunc("POST /session", func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		sub, err := verify(token)
		if err != nil || sub == "" {
			http.Error(w, "no valid login token", http.StatusUnauthorized)
			return
		}
		id := rand.Text()
		lock.Lock()
		sessions[id] = session{sub, time.Now().Add(sessionLife)}
		lock.Unlock()
		setCookie(w, id, sessionLife)
		w.WriteHeader(http.StatusNoContent)
	})
	http.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if cookie, err := r.Cookie(cookieName); err == nil {
			lock.Lock()
			delete(sessions, cookie.Value)
			lock.Unlock()
		}
		setCookie(w, "", -time.Second)
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, nil))
}
