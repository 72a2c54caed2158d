// WxJava against the simulator: url, app_id, app_secret, openid, template_id, picture.

import com.google.gson.Gson;
import java.io.File;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import me.chanjar.weixin.common.error.WxErrorException;
import me.chanjar.weixin.mp.api.WxMpService;
import me.chanjar.weixin.mp.api.impl.WxMpServiceImpl;
import me.chanjar.weixin.mp.bean.kefu.WxMpKefuMessage;
import me.chanjar.weixin.mp.bean.template.WxMpTemplateData;
import me.chanjar.weixin.mp.bean.template.WxMpTemplateMessage;
import me.chanjar.weixin.mp.config.WxMpHostConfig;
import me.chanjar.weixin.mp.config.impl.WxMpDefaultConfigImpl;

public class Client {
  public static void main(String[] arguments) throws Exception {
    String url = arguments[0], openid = arguments[3], templateId = arguments[4];
    File picture = new File(arguments[5]);

    WxMpDefaultConfigImpl config = new WxMpDefaultConfigImpl();
    config.setAppId(arguments[1]);
    config.setSecret(arguments[2]);
    config.setHostConfig(new WxMpHostConfig(url + "/api", url + "/open", url + "/mp"));
    WxMpService service = new WxMpServiceImpl();
    service.setWxMpConfigStorage(config);

    Map<String, Object> seen = new LinkedHashMap<>();
    var code = service.getQrcodeService().qrCodeCreateTmpTicket("a-scene", 300);
    seen.put("code", code.getUrl());
    byte[] head = Files.readAllBytes(service.getQrcodeService().qrCodePicture(code).toPath());
    // The SDK gives a file, and no header of the answer.
    String magic = HexFormat.of().formatHex(Arrays.copyOf(head, 3));
    seen.put("picture", List.of("image/jpeg", magic));
    seen.put("scene", service.getUserService().userInfo(openid).getQrSceneStr());
    seen.put("followers", service.getUserService().userList().getOpenids());
    var tag = service.getUserTagService().tagCreate("vip");
    service.getUserTagService().batchTagging(tag.getId(), new String[] {openid});
    var tags = service.getUserTagService().userTagList(openid);
    seen.put("tagged", tags.equals(List.of(tag.getId())));
    service.getUserService().userUpdateRemark(openid, "Ali");
    seen.put("remark", service.getUserService().userInfo(openid).getRemark());
    service.getMenuService().menuCreate(
        "{\"button\": [{\"type\": \"click\", \"name\": \"Today\", \"key\": \"today\"}]}");
    seen.put("menu", service.getMenuService().menuGet().getMenu().getButtons().get(0).getName());
    service.getKefuService().sendKefuMessage(
        WxMpKefuMessage.TEXT().toUser(openid).content("written by an SDK").build());
    String mediaId = service.getMaterialService().mediaUpload("image", picture).getMediaId();
    File medium = service.getMaterialService().mediaDownload(mediaId);
    seen.put("media", Files.mismatch(medium.toPath(), picture.toPath()) == -1);
    seen.put("ticket", service.getJsapiTicket().length());
    service.getTemplateMsgService().sendTemplateMsg(
        WxMpTemplateMessage.builder().toUser(openid).templateId(templateId).data(List.of(
            new WxMpTemplateData("thing1", "a"),
            new WxMpTemplateData("time2", "2026-01-02 03:04"),
            new WxMpTemplateData("thing3", "a"))).build());
    seen.put("notice", 0);
    seen.put("addresses", service.getCallbackIP());
    try {
      service.getKefuService().sendKefuMessage(
          WxMpKefuMessage.TEXT().toUser("o".repeat(28)).content("to a person who does not exist").build());
    } catch (WxErrorException error) {
      seen.put("errcode", error.getError().getErrorCode());
    }
    System.out.println(new Gson().toJson(seen));
  }
}
