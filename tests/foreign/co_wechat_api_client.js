// co-wechat-api against the simulator: url, app_id, app_secret, openid, template_id, picture.
const fs = require("fs");
const http = require("http");
const WechatAPI = require("co-wechat-api");

const [url, appId, appSecret, openid, templateId, picture] = process.argv.slice(2);
const api = new WechatAPI(appId, appSecret);
api.prefix = `${url}/api/cgi-bin/`;
api.snsPrefix = `${url}/api/sns/`;
api.wxaPrefix = `${url}/api/wxa/`;
api.mpPrefix = `${url}/mp/cgi-bin/`;

function head(address) {
  return new Promise((resolve, reject) => {
    http.get(address, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => {
        const bytes = Buffer.concat(parts);
        resolve([answer.headers["content-type"], bytes.subarray(0, 3).toString("hex")]);
      });
    }).on("error", reject);
  });
}

async function main() {
  const seen = {};
  const code = await api.createTmpQRCode("a-scene", 300);
  seen.code = code.url;
  seen.picture = await head(api.showQRCodeURL(code.ticket));
  seen.scene = (await api.getUser(openid)).qr_scene_str;
  seen.followers = (await api.getFollowers()).data.openid;
  const { tag } = await api.createTags("vip");
  await api.batchTagging([openid], tag.id);
  const tags = (await api.getIdList(openid)).tagid_list;
  seen.tagged = tags.length === 1 && tags[0] === tag.id;
  await api.updateRemark(openid, "Ali");
  seen.remark = (await api.getUser(openid)).remark;
  await api.createMenu({ button: [{ type: "click", name: "Today", key: "today" }] });
  seen.menu = (await api.getMenu()).menu.button[0].name;
  await api.sendText(openid, "written by an SDK");
  const medium = await api.uploadMedia(picture, "image");
  seen.media = (await api.getMedia(medium.media_id)).equals(fs.readFileSync(picture));
  seen.ticket = (await api.getTicket()).ticket.length;
  const notice = { thing1: { value: "a" }, time2: { value: "2026-01-02 03:04" }, thing3: { value: "a" } };
  seen.notice = (await api.sendTemplate(openid, templateId, "", "", notice)).errcode;
  seen.addresses = (await api.getIp()).ip_list;
  try {
    await api.sendText("o".repeat(28), "to a person who does not exist");
  } catch (error) {
    seen.errcode = error.code;
  }
  console.log(JSON.stringify(seen));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
