include $(sort $(wildcard $(BR2_EXTERNAL_OUTRIDER_PATH)/package/*/*.mk))
