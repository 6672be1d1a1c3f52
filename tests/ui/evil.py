"""What an attacker would write into every string that a page shows."""

EVIL = '<img src=x onerror="window.top.hacked=1"><script>window.top.hacked=1</script>'
SCRIPT = "javascript:window.top.hacked=1"
