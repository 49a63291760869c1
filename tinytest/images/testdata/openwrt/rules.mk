# What of OpenWrt the package's Makefile touches.
INCLUDE_DIR = $(TOPDIR)/include
INSTALL_DIR = install -d -m0755
INSTALL_BIN = install -m0755
