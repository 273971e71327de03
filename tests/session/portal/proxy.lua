-- Sends a request on to a port of a node, as Open OnDemand's node proxy does: by HTTP or, for an upgrade,
-- WebSocket; Host is the node's, X-Forwarded-Host (by mod_proxy) the portal's.

function to_node(request)
    local given = request.subprocess_env
    local upgrade = request.headers_in["Upgrade"] ~= nil
    local path = given["MATCH_URI"] or request.uri
    if path == "" then
        path = "/"
    end
    if request.args then
        path = path .. "?" .. request.args
    end
    request.headers_in["X-Forwarded-Proto"] = request.is_https and "https" or "http"
    request.headers_in["X-Forwarded-User"] = "somebody"
    request.handler = "proxy-server"
    request.proxyreq = apache2.PROXYREQ_REVERSE
    local place = given["MATCH_HOST"] .. ":" .. given["MATCH_PORT"]
    request.filename = "proxy:" .. (upgrade and "ws://" or "http://") .. place .. path
    return apache2.DECLINED
end
