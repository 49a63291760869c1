include $(sort $(wildcard $(BR2_EXTERNAL_NMOS_AUTHD_PATH)/package/*/*.mk))
