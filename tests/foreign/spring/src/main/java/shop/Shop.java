package shop;

import java.time.Duration;
import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.annotation.AuthenticationPrincipal;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClientManager;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClientProviderBuilder;
import org.springframework.security.oauth2.client.annotation.RegisteredOAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.oidc.web.logout.OidcClientInitiatedLogoutSuccessHandler;
import org.springframework.security.oauth2.client.registration.ClientRegistrationRepository;
import org.springframework.security.oauth2.client.web.DefaultOAuth2AuthorizedClientManager;
import org.springframework.security.oauth2.client.web.OAuth2AuthorizedClientRepository;
import org.springframework.security.oauth2.core.oidc.user.OidcUser;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.security.web.csrf.CsrfToken;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** A shop that logs people in by Spring Security alone: its settings are those of docs/openid.md. */
@SpringBootApplication
@RestController
public class Shop {
  public static void main(String[] arguments) {
    SpringApplication.run(Shop.class, arguments);
  }

  @Bean
  SecurityFilterChain security(HttpSecurity http, ClientRegistrationRepository clients) {
    var loggedOut = new OidcClientInitiatedLogoutSuccessHandler(clients);
    loggedOut.setPostLogoutRedirectUri("{baseUrl}/bye");
    return http.authorizeHttpRequests(
            asked -> asked.requestMatchers("/bye", "/error").permitAll().anyRequest().authenticated())
        .oauth2Login(Customizer.withDefaults())
        .oidcLogout(logout -> logout.backChannel(Customizer.withDefaults()))
        .logout(logout -> logout.logoutSuccessHandler(loggedOut))
        .build();
  }

  /** Renews access tokens at every use, where others wait until a minute before their end. */
  @Bean
  OAuth2AuthorizedClientManager clients(
      ClientRegistrationRepository clients, OAuth2AuthorizedClientRepository authorized) {
    var manager = new DefaultOAuth2AuthorizedClientManager(clients, authorized);
    manager.setAuthorizedClientProvider(
        OAuth2AuthorizedClientProviderBuilder.builder()
            .authorizationCode()
            .refreshToken(refresh -> refresh.clockSkew(Duration.ofDays(1)))
            .build());
    return manager;
  }

  /** Who is there, with an access token that is good. */
  @GetMapping("/")
  Map<String, Object> home(
      @AuthenticationPrincipal OidcUser user,
      @RegisteredOAuth2AuthorizedClient("wechat") OAuth2AuthorizedClient client,
      CsrfToken csrf) {
    return Map.of(
        "sub", user.getSubject(),
        "name", user.getName(),
        "access_token", client.getAccessToken().getTokenValue(),
        "csrf", csrf.getToken());
  }

  @GetMapping("/bye")
  String bye() {
    return "Bye.";
  }
}
