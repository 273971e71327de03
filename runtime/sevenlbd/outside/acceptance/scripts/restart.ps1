# Start anew, as soon as the agent has answered.
& shutdown.exe /r /t 2 /f
'done=1'
