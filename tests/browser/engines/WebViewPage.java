import javafx.animation.Animation;
import javafx.animation.KeyFrame;
import javafx.animation.Timeline;
import javafx.application.Application;
import javafx.application.Platform;
import javafx.scene.Scene;
import javafx.scene.web.WebView;
import javafx.stage.Stage;
import javafx.util.Duration;
import netscape.javascript.JSObject;

/**
 * Opens a page in the WebKit of JavaFX: `WebViewPage.java URL EXPRESSION`.
 *
 * Prints what the expression is in the page, as JSON, as soon as it is true, or after ninety seconds.
 */
public class WebViewPage extends Application {
  private int turns = 900;

  @Override
  public void start(Stage stage) {
    var view = new WebView();
    var engine = view.getEngine();
    stage.setScene(new Scene(view, 1280, 800));
    stage.show();
    var look = new Timeline();
    look.getKeyFrames().add(new KeyFrame(Duration.millis(100), event -> {
      // By no eval, which the policy of the page refuses.
      var found = engine.executeScript(getParameters().getRaw().get(1));
      if (Boolean.FALSE.equals(found) && --turns > 0) return;
      look.stop();
      ((JSObject) engine.executeScript("window")).setMember("found", found);
      System.out.println(engine.executeScript("JSON.stringify(found)"));
      Platform.exit();
    }));
    look.setCycleCount(Animation.INDEFINITE);
    look.play();
    engine.load(getParameters().getRaw().get(0));
  }

  public static void main(String[] arguments) {
    launch(WebViewPage.class, arguments);
  }
}
