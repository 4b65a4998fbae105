"""The RFB (VNC) engine: a connection in, a framebuffer and events out. Knows no Qt and no driver.

Source: RFC 6143 and its community successor, github.com/rfbproto/rfbproto.
"""

from app.consoles.rfb.client import RfbClient
from app.consoles.rfb.framebuffer import Framebuffer
from app.consoles.rfb.options import Encoding, RfbEvents, RfbOptions

__all__ = ["Encoding", "Framebuffer", "RfbClient", "RfbEvents", "RfbOptions"]
