// A site on Spring Boot with scan-to-login: scan, verify, a session of its own, log-out.
//
//     SCANPUSH_URL=http://127.0.0.1:8888 mvn spring-boot:run        # then open http://127.0.0.1:3000
//
// scanpush must know the site: SCANPUSH_SERVER__ALLOWED_ORIGINS=http://127.0.0.1:3000 scripts/run
package site;

import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpSession;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.http.HttpStatus;
import org.springframework.http.MediaType;
import org.springframework.http.ResponseEntity;
import org.springframework.security.oauth2.core.DelegatingOAuth2TokenValidator;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.JwtClaimValidator;
import org.springframework.security.oauth2.jwt.JwtException;
import org.springframework.security.oauth2.jwt.JwtIssuerValidator;
import org.springframework.security.oauth2.jwt.JwtTimestampValidator;
import org.springframework.security.oauth2.jwt.JwtTypeValidator;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.util.HtmlUtils;

@SpringBootApplication
@RestController
public class Site {
    private static final String SCANPUSH_URL = setting("SCANPUSH_URL", "http://127.0.0.1:8888");
    // The server's public_url once that is set; without one it says "scanpush".
    private static final String ISSUER = setting("SCANPUSH_ISSUER", "scanpush");

    private static final String USER_PAGE = """
        <!doctype html>
        <html lang="en"><meta charset="utf-8"><title>A site on Spring Boot</title>
        <p>Hello, USER.</p>
        <form method="post" action="/logout"><button>Log out</button></form></html>
        """;
    private static final String LOGIN_PAGE = """
        <!doctype html>
        <html lang="en"><meta charset="utf-8"><title>A site on Spring Boot</title>
        <script type="module" src="SCANPUSH_URL/static/scan-login.js"></script>
        <scan-login></scan-login>
        <script type="module">
        document.querySelector("scan-login").addEventListener("login", async ({ detail }) => {
          const headers = { Authorization: `Bearer ${detail.token}` };
          if ((await fetch("/session", { method: "POST", headers })).ok) location.reload();
        });
        </script></html>
        """.replace("SCANPUSH_URL", SCANPUSH_URL);

    private final NimbusJwtDecoder tokens = decoder();

    private static NimbusJwtDecoder decoder() {
        NimbusJwtDecoder decoder = NimbusJwtDecoder.withJwkSetUri(SCANPUSH_URL + "/.well-known/jwks.json")
            .jwsAlgorithm(SignatureAlgorithm.ES256).build();
        decoder.setJwtValidator(new DelegatingOAuth2TokenValidator<>(
            // Refuses access tokens of scanpush's OpenID Provider: they are at+jwt.
            new JwtTypeValidator("JWT"),
            new JwtTimestampValidator(Duration.ofMinutes(1)),
            new JwtIssuerValidator(ISSUER),
            new JwtClaimValidator<List<String>>("aud", List.of("scanpush")::equals),
            new JwtClaimValidator<Object>("account", account -> account != null)));
        return decoder;
    }

    @GetMapping(path = "/", produces = MediaType.TEXT_HTML_VALUE)
    ResponseEntity<String> home(HttpServletRequest request) {
        HttpSession session = request.getSession(false);
        Object user = session == null ? null : session.getAttribute("user");
        String page = user == null ? LOGIN_PAGE : USER_PAGE.replace("USER", HtmlUtils.htmlEscape((String) user));
        return ResponseEntity.ok().header("Cache-Control", "no-store").body(page);
    }

    // The token comes in a header that no other site can make a browser send here.
    @PostMapping("/session")
    ResponseEntity<Void> logIn(HttpServletRequest request,
            @RequestHeader(name = "Authorization", defaultValue = "") String authorization) {
        try {
            String user = tokens.decode(authorization.replaceFirst("^Bearer ", "")).getSubject();
            request.getSession();
            request.changeSessionId();
            request.getSession().setAttribute("user", user);
            return ResponseEntity.noContent().build();
        } catch (JwtException refused) {
            return ResponseEntity.status(HttpStatus.UNAUTHORIZED).build();
        }
    }

    @PostMapping("/logout")
    ResponseEntity<Void> logOut(HttpServletRequest request) {
        HttpSession session = request.getSession(false);
        if (session != null) {
            session.invalidate();
        }
        return ResponseEntity.status(HttpStatus.SEE_OTHER).header("Location", "/").build();
    }

    private static String setting(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }

    public static void main(String[] arguments) {
        SpringApplication site = new SpringApplication(Site.class);
        site.setDefaultProperties(Map.of(
            "server.address", "127.0.0.1",
            "server.port", setting("PORT", "3000"),
            "server.servlet.session.timeout", "8h",
            "server.servlet.session.cookie.http-only", "true",
            "server.servlet.session.cookie.same-site", "lax",
            "server.servlet.session.cookie.secure", String.valueOf(System.getenv("SITE_HTTPS") != null)));
        site.run(arguments);
    }
}
