// silenceper/wechat against the simulator: url, app_id, app_secret, openid, template_id, picture.
package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/silenceper/wechat/v2"
	"github.com/silenceper/wechat/v2/cache"
	"github.com/silenceper/wechat/v2/officialaccount/basic"
	"github.com/silenceper/wechat/v2/officialaccount/config"
	"github.com/silenceper/wechat/v2/officialaccount/material"
	"github.com/silenceper/wechat/v2/officialaccount/menu"
	"github.com/silenceper/wechat/v2/officialaccount/message"
	"github.com/silenceper/wechat/v2/util"
)

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func get(address string) (string, []byte) {
	answer := must(http.Get(address))
	defer answer.Body.Close()
	return answer.Header.Get("Content-Type"), must(io.ReadAll(answer.Body))
}

func main() {
	url, appID, appSecret := os.Args[1], os.Args[2], os.Args[3]
	openid, templateID, picture := os.Args[4], os.Args[5], os.Args[6]

	hosts := strings.NewReplacer(
		"https://api.weixin.qq.com", url+"/api",
		"https://mp.weixin.qq.com", url+"/mp",
		"https://open.weixin.qq.com", url+"/open",
	)
	util.SetURIModifier(hosts.Replace)
	account := wechat.NewWechat().GetOfficialAccount(&config.Config{
		AppID: appID, AppSecret: appSecret, Cache: cache.NewMemory(),
	})

	seen := map[string]any{}
	code := must(account.GetBasic().GetQRTicket(basic.NewTmpQrRequest(5*time.Minute, "a-scene")))
	seen["code"] = code.URL
	kind, body := get(hosts.Replace(basic.ShowQRCode(code)))
	seen["picture"] = []string{kind, hex.EncodeToString(body[:3])}
	users := account.GetUser()
	seen["scene"] = must(users.GetUserInfo(openid)).QrSceneStr
	seen["followers"] = must(users.ListUserOpenIDs()).Data.OpenIDs
	tag := must(users.CreateTag("vip"))
	check(users.BatchTag([]string{openid}, tag.ID))
	tags := must(users.UserTidList(openid))
	seen["tagged"] = len(tags) == 1 && tags[0] == tag.ID
	check(users.UpdateRemark(openid, "Ali"))
	seen["remark"] = must(users.GetUserInfo(openid)).Remark
	check(account.GetMenu().SetMenu([]*menu.Button{menu.NewClickButton("Today", "today")}))
	seen["menu"] = must(account.GetMenu().GetMenu()).Menu.Button[0].Name
	chat := account.GetCustomerMessageManager()
	check(chat.Send(message.NewCustomerTextMessage(openid, "written by an SDK")))
	files := account.GetMaterial()
	medium := must(files.MediaUpload(material.MediaTypeImage, picture))
	_, body = get(hosts.Replace(must(files.GetMediaURL(medium.MediaID))))
	seen["media"] = bytes.Equal(body, must(os.ReadFile(picture)))
	token := must(account.GetAccessToken())
	seen["ticket"] = len(must(account.GetJs().GetTicket(token)))
	data := map[string]*message.TemplateDataItem{
		"thing1": {Value: "a"}, "time2": {Value: "2026-01-02 03:04"}, "thing3": {Value: "a"},
	}
	must(account.GetTemplate().Send(&message.TemplateMessage{
		ToUser: openid, TemplateID: templateID, Data: data,
	}))
	seen["notice"] = 0
	seen["addresses"] = must(account.GetBasic().GetCallbackIP())
	unknown := message.NewCustomerTextMessage(strings.Repeat("o", 28), "to a person who does not exist")
	if err := chat.Send(unknown); err != nil && strings.Contains(err.Error(), "40003") {
		seen["errcode"] = 40003
	}
	check(json.NewEncoder(os.Stdout).Encode(seen))
}
